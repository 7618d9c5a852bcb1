"""Jobs of several coordinators through the trainers that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from actors.contract.actor_address import ActorAddress
from actors.contract.records import Assignment, ChallengerName, PolicyRef, TrainReport
from actors.training.resident.dispatcher import CoordinatorGoneError, TrainingDispatcher

NAMES = ("dpo", "kto")


def job(run: str, name: ChallengerName, index: int) -> Assignment:
    policy = PolicyRef(version="c0-base", path="/model")
    return Assignment(
        index=index,
        cycle=index + 1,
        algorithm=name,
        champion=policy,
        reference=policy,
        rows="/rows",
        output=f"/{run}/{name}",
        version=f"c{index + 1}-{name}",
        seed=1,
        run=f"/{run}",
    )


def report(of: Assignment) -> TrainReport:
    return TrainReport(
        algorithm=of.algorithm,
        cycle=of.cycle,
        challenger=PolicyRef(version=of.version, path=f"{of.output}/merged"),
        adapter=f"{of.output}/adapter",
        rows=1,
        steps=1,
        train_s=1,
        wall_s=1,
        workers=1,
        trainable_parameters=1,
        adapter_change=1,
        metrics={},
    )


class Coordinator:
    """The jobs of one run, and what was told of them."""

    def __init__(self, run: str, jobs: int) -> None:
        self.run, self.jobs, self.gone = run, jobs, False
        self.told: list[tuple[str, ...]] = []

    def assignment(self, name: ChallengerName, index: int) -> Assignment | Literal["stop"] | None:
        self._check()
        return job(self.run, name, index) if index < self.jobs else None

    def progress(self, name: ChallengerName, step: int, total: int) -> None:
        self._told("progress", name, f"{step} of {total}")

    def done(self, report: TrainReport) -> None:
        self._told("done", report.challenger.version)

    def failed(self, name: ChallengerName, index: int, sentence: str) -> None:
        self._told("failed", name, str(index), sentence)

    def halted(self, sentence: str) -> None:
        self._told("halted", sentence)

    def _told(self, *what: str) -> None:
        self._check()
        self.told.append(what)

    def _check(self) -> None:
        if self.gone:
            raise CoordinatorGoneError(self.run)


class Run:
    def __init__(self) -> None:
        self.end: str | None = None

    def fault(self) -> str | None:
        return self.end

    def cancel(self) -> None:
        self.end = "cancelled"


class Trainers:
    """A dispatcher, the runs that it started, and the coordinators that it finds."""

    def __init__(self, *coordinators: Coordinator) -> None:
        self.runs: list[tuple[ChallengerName, Run]] = []
        self._coordinators = {each.run: each for each in coordinators}
        self.dispatcher = TrainingDispatcher(NAMES, self._launch, lambda address: self._coordinators[address.namespace])
        for each in coordinators:
            self.dispatcher.join(address(each))

    def _launch(self, name: ChallengerName) -> Run:
        self.runs.append((name, run := Run()))
        return run

    def next(self, name: ChallengerName = "kto") -> Assignment:
        found = self.dispatcher.assignment(name, 0)
        assert isinstance(found, Assignment)
        return found

    def done(self, name: ChallengerName = "kto") -> str:
        """Trains the next job; returns its output."""
        self.dispatcher.training_done(report(found := self.next(name)))
        return found.output


def address(of: Coordinator) -> ActorAddress:
    return ActorAddress(actor="coordinator", namespace=of.run)


@pytest.fixture
def one() -> Coordinator:
    return Coordinator("one", 2)


@pytest.fixture
def two() -> Coordinator:
    return Coordinator("two", 1)


def test_jobs_are_handed_out_in_turns_and_reported_to_whose_they_are(one: Coordinator, two: Coordinator) -> None:
    trainers = Trainers(one, two)
    assert [trainers.done() for _ in range(3)] == ["/one/kto", "/two/kto", "/one/kto"]
    assert one.told == [("done", "c1-kto"), ("done", "c2-kto")] and two.told == [("done", "c1-kto")]
    # Each challenger's name has its own trainer, started once for all runs.
    assert trainers.done("dpo") == "/two/dpo"
    assert [name for name, _ in trainers.runs] == ["dpo", "kto"]
    assert trainers.dispatcher.assignment("kto", 3) is None


def test_a_trainer_that_asks_again_gets_the_job_that_it_had(one: Coordinator, two: Coordinator) -> None:
    trainers = Trainers(one, two)
    assert trainers.next() == trainers.next()
    trainers.dispatcher.training_progress("kto", 3, 9)
    trainers.dispatcher.training_failed("kto", 7, "No pairs.")
    assert one.told == [("progress", "kto", "3 of 9"), ("failed", "kto", "0", "No pairs.")]
    assert trainers.next().run == "/two"


def test_a_run_that_has_ended_fails_its_job_alone_and_is_started_anew(one: Coordinator, two: Coordinator) -> None:
    trainers = Trainers(one, two)
    trainers.next()
    trainers.runs[1][1].end = "out of memory"
    trainers.dispatcher.check()
    trainers.dispatcher.check()
    assert one.told == [("failed", "kto", "0", "out of memory")] and two.told == []
    assert [name for name, _ in trainers.runs] == ["dpo", "kto", "kto"]
    assert trainers.next().run == "/two"


def test_a_run_that_cannot_start_fails_the_jobs_that_wait_for_it(one: Coordinator) -> None:
    trainers = Trainers(one)
    for _ in range(3):
        trainers.runs[-1][1].end = "no such device"
        trainers.dispatcher.check()
    assert [told[2] for told in one.told] == ["0", "1"]
    # There is no job left to fail: the next one that joins, or begins a cycle, has it started.
    assert len(trainers.runs) == 4
    trainers.dispatcher.join(address(one))
    assert len(trainers.runs) == 5


@pytest.mark.parametrize("then", [lambda trainers: trainers.done(), lambda trainers: trainers.dispatcher.check()])
def test_a_coordinator_that_is_gone_is_asked_no_more(
    one: Coordinator, two: Coordinator, then: Callable[[Trainers], object]
) -> None:
    trainers = Trainers(one, two)
    trainers.next()
    trainers.runs[1][1].end = "killed"
    one.gone = True
    then(trainers)
    assert trainers.done() == "/two/kto"
    assert trainers.dispatcher.assignment("kto", 0) is None


def test_a_full_disk_ends_the_runs_whose_jobs_were_in_hand_and_no_other(one: Coordinator, two: Coordinator) -> None:
    trainers = Trainers(one, two)
    trainers.next()
    trainers.dispatcher.training_halted("The disk is full.")
    trainers.runs[1][1].end = "The disk is full."
    trainers.dispatcher.check()
    assert one.told == [("halted", "The disk is full.")] and two.told == []
    assert trainers.next().run == "/two" and len(trainers.runs) == 3


def test_a_trainer_whose_run_has_left_ends_and_begins_anew_for_the_others(one: Coordinator, two: Coordinator) -> None:
    trainers = Trainers(one, two)
    trainers.next()
    trainers.dispatcher.leave(address(one))
    assert [(name, run.end) for name, run in trainers.runs] == [("dpo", None), ("kto", "cancelled"), ("kto", None)]
    assert trainers.done() == "/two/kto" and one.told == []
    # The last one's trainer is wanted by none.
    trainers.next("dpo")
    trainers.dispatcher.leave(address(two))
    assert len(trainers.runs) == 3


def test_one_that_leaves_is_asked_no_more_and_all_end_when_told(one: Coordinator, two: Coordinator) -> None:
    trainers = Trainers(one, two)
    trainers.dispatcher.leave(address(one))
    assert trainers.done() == "/two/kto" and trainers.dispatcher.assignment("kto", 1) is None
    assert not trainers.dispatcher.ended()
    trainers.dispatcher.stop()
    assert trainers.dispatcher.assignment("kto", 1) == "stop"
    for _, run in trainers.runs:
        run.end = "it ended"
    assert trainers.dispatcher.ended()
