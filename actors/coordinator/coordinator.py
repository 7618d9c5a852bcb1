"""Coordinator: the run's state. Hands out training jobs, decides each cycle, publishes the winner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from actors.contract.publication import (
    Publication,
    PublicationRefusedError,
    RefusedPublication,
    note_refusal,
    read_publications,
    refusal_of,
    with_refusal,
)
from actors.contract.records import Assignment, ChallengerName, PolicyRef, Record, TrainReport
from actors.contract.run_folder import MERGE, RunFolder
from actors.contract.run_names import RunNames, read_report
from actors.contract.seeds import derive_seed
from actors.coordinator.recorded import RecordedDecision, decision_inputs
from actors.coordinator.state import TOO_FEW, CoordinatorState, TrainingState, lacks_rows
from actors.errors import SalusError
from actors.files.atomic import append_line
from actors.files.full_disk import FullDiskError
from actors.files.shards import read_folder, write_text
from actors.training.algorithms.table import ALGORITHMS, Algorithm

STOP: Literal["stop"] = "stop"
# What a decision rule is shown of judged answers: all that its figures are made of.
DECISION_COLUMNS = (
    "prompt_id", "base_prompt", "source", "policy", "level", "principle", "method", "answer", "tokens", "finish_reason",
    "label", "p_unsafe",
)  # fmt: skip


class Verdict(Protocol):
    """What the coordinator needs to know of a decision record."""

    @property
    def chosen(self) -> ChallengerName: ...

    @property
    def publish(self) -> bool: ...

    @property
    def ended(self) -> str | None: ...

    def model_dump_json(self, *, indent: int | None = None) -> str: ...


class DecisionRule(Protocol):
    """The choice itself: pure, passed in by the pipeline, so that this actor knows no thresholds."""

    def __call__(
        self,
        cycle: int,
        champion: pa.Table,
        challengers: Mapping[ChallengerName, pa.Table],
        failed: Mapping[ChallengerName, str],
    ) -> Verdict: ...


class PolicyPublisher(Protocol):
    """Puts a policy behind the served endpoint; see `actors.serve.publisher.publisher`."""

    def start(self, policy: PolicyRef) -> Publication: ...

    def attach(self, policy: PolicyRef) -> None: ...

    def publish(self, policy: PolicyRef, cycle: int) -> Publication: ...

    def stop(self) -> None: ...


class CycleOutcome(Record):
    """What one cycle came to."""

    cycle: int
    chosen: ChallengerName
    champion: PolicyRef
    # What is live after it; None without an endpoint.
    published: PolicyRef | None
    # Why no further cycle is run; None where one may follow.
    ended: str | None = None
    # Why the publication that the decision asked for was refused; None where it was not.
    refused: str | None = None


class Coordinator:
    """Owns champion, assignments and decisions of one run; every method may be called again.

    State is written and synced before any call returns. A coordinator that is built in its place, in the same session,
    goes on where it stopped. Published is what `published` says; the recorder of that keeps it as durably.

    Life: `Coordinator(...)` -> [`start_publisher`] -> (`assign` -> trainers call `assignment`, `training_done` |
    `training_failed` -> `decide`)* -> `stop_training` -> `stop_publisher`
    """

    def __init__(
        self,
        root: str,
        base: PolicyRef,
        seed: int,
        reference: Literal["champion", "base"],
        challengers: Mapping[ChallengerName, Algorithm],
        rule: DecisionRule,
        judge: str | None,
        session: str,
        publisher: PolicyPublisher | None = None,
        published: Callable[[], PolicyRef | None] = lambda: None,
        keep_whole: Callable[[PolicyRef, PolicyRef], None] = lambda winner, champion: None,
        first: PolicyRef | None = None,
        merges: bool = False,
    ) -> None:
        # What the first cycle starts from is the base, or `first`; with `merges` a cycle has a merged challenger too.
        self._folder = RunFolder(Path(root))
        self._names = RunNames(self._folder)
        self._base = base
        self._seed = seed
        self._reference = reference
        # The algorithm of each.
        self._challengers = challengers
        self._rule = rule
        # None: the champion of the cycle judges (regimen SELF).
        self._judge = judge
        self._publisher = publisher
        # What the endpoint serves; the publisher sets it, so that it is told before a replica could ask.
        self._published = published
        # Writes a winner's whole weights, which were an adapter to its champion until then.
        self._keep_whole = keep_whole
        self._lock = threading.RLock()
        self._session = session
        # Not kept: a disk that is full takes no note of it.
        self._halted: str | None = None
        self._merges = merges
        known = CoordinatorState.read(self._folder.coordinator_state, session)
        self._take_up(known or CoordinatorState.begin(challengers, first or base, base))

    def _take_up(self, state: CoordinatorState) -> None:
        self._champion = state.champion
        self._live = state.live
        self._assignments = {name: list(jobs) for name, jobs in state.assignments.items()}
        self._training = {name: list(states) for name, states in state.training.items()}
        self._stopped = state.stopped
        self._decided = state.decided
        live = self._published()
        if self._publisher is not None and live is not None:
            self._publisher.attach(live)

    def _keep(self) -> None:
        """Write down what would be lost with this process; called with the lock held."""
        state = CoordinatorState(
            session=self._session,
            champion=self._champion,
            live=self._live,
            assignments={name: tuple(jobs) for name, jobs in self._assignments.items()},
            training={name: tuple(states) for name, states in self._training.items()},
            stopped=self._stopped,
            decided=self._decided,
        )
        write_text(state.model_dump_json(), self._folder.coordinator_state)

    def champion(self) -> PolicyRef:
        """The policy the next cycle starts from."""
        return self._champion

    # Training

    def assign(self, cycle: int) -> dict[ChallengerName, Assignment]:
        """Queue one training job per challenger, from the present champion, on this cycle's rows.

        Where the cycle has no rows of a challenger's kind, its job has ended, and says so.
        """
        with self._lock:
            jobs = {name: self._assign(cycle, name) for name in self._challengers}
            self._keep()
            return jobs

    def _assign(self, cycle: int, name: ChallengerName) -> Assignment:
        queue = self._assignments[name]
        for known in queue:
            if known.cycle == cycle:
                return known
        algorithm = self._challengers[name]
        challenger = self._folder.challenger(cycle, name)
        job = Assignment(
            index=len(queue),
            cycle=cycle,
            algorithm=algorithm,
            champion=self._champion,
            reference=self._champion if self._reference == "champion" else self._base,
            rows=str(self._folder.rows(cycle, ALGORITHMS[algorithm].rows)),
            output=str(self._folder.training(cycle, name)),
            version=challenger.version,
            seed=derive_seed(self._seed, "train", cycle, name),
            run=str(self._folder.root),
        )
        queue.append(job)
        self._training[name].append(TrainingState.of(ALGORITHMS[algorithm].rows, Path(job.rows)))
        return job

    def assignment(self, name: ChallengerName, index: int) -> Assignment | Literal["stop"] | None:
        """The job a trainer asks for; None while it is not there yet, "stop" once there will be none."""
        with self._lock:
            queue = self._assignments[name]
            if index < len(queue):
                return queue[index]
            return STOP if self._stopped else None

    def adopt(self, cycle: int) -> None:
        """Take up training jobs that an earlier process of this run brought to their end."""
        for name, job in self.assign(cycle).items():
            report = read_report(self._folder, cycle, name)
            if report is not None:
                self.training_done(report)
            else:
                self.training_failed(name, job.index, "it was never trained to its end")

    def training_progress(self, name: ChallengerName, step: int, total: int) -> None:
        """A trainer's progress on its newest job, in optimiser steps."""
        with self._lock:
            jobs = self._training[name]
            # Not kept: a trainer tells it anew.
            if jobs and not jobs[-1].ended:
                jobs[-1] = TrainingState(step=step, total=total)

    def training_done(self, report: TrainReport) -> None:
        with self._lock:
            index = self._index(report.name, report.cycle)
            self._training[report.name][index] = TrainingState(step=report.steps, total=report.steps, report=report)
            self._keep()

    def training_failed(self, name: ChallengerName, index: int, sentence: str) -> None:
        """One challenger fails alone: the others go on and the decision says so."""
        with self._lock:
            # A resident trainer asks for its job all the same, and then misses the rows.
            if not lacks_rows(self._training[name][index].failure):
                self._training[name][index] = TrainingState(failure=sentence)
            self._keep()

    def training_halted(self, sentence: str) -> None:
        """A trainer found the disk full: no challenger fails by that, but a caller that asks for the state is told."""
        self._halted = sentence

    def training_state(self, cycle: int) -> dict[ChallengerName, TrainingState]:
        """How far each job of a cycle is.

        Raises:
            FullDiskError: a trainer could not go on.
        """
        if self._halted is not None:
            raise FullDiskError(self._halted)
        with self._lock:
            return {
                name: self._training[name][job.index]
                for name, queue in self._assignments.items()
                for job in queue
                if job.cycle == cycle
            }

    def stop_training(self) -> None:
        """Resident trainers end when they ask next."""
        with self._lock:
            self._stopped = True
            self._keep()

    def _index(self, name: ChallengerName, cycle: int) -> int:
        for job in self._assignments[name]:
            if job.cycle == cycle:
                return job.index
        raise SalusError(f"There is no {name} training job for cycle {cycle} in this run.")

    # Decision and publication

    def decide(self, cycle: int, publish: bool = True) -> CycleOutcome:
        """Compare this cycle's challengers with the champion on the validation split, record why, and publish.

        The winner's weights and then the decision record are written before anything is published. Without `publish`
        the same call publishes later, by the record as long as what the record was made of is the same.

        Training goes on from a policy that the endpoint refuses, as from one that a gate holds back. The record says
        why, and it is not tried again.
        """
        with self._lock:
            states = self.training_state(cycle)
            failed = {name: self._names.sentence(s.failure) for name, s in states.items() if s.failure is not None}
            trained = [name for name, s in states.items() if s.report is not None]
            if self._merges and read_report(self._folder, cycle, MERGE) is None:
                failed[MERGE] = TOO_FEW
            elif self._merges:
                trained.append(MERGE)
            champion = self._started_from(cycle)
        own = self._judgments(champion.version, champion)
        others = {name: self._judgments(self._folder.challenger(cycle, name).version, champion) for name in trained}
        inputs = decision_inputs(self._folder, cycle, [own, *others.values()], failed)
        record = self._folder.decision(cycle)
        known: Verdict | None = self._decided.verdict(record, inputs) if self._decided is not None else None
        verdict = known or self._rule(
            cycle,
            read_folder(own, DECISION_COLUMNS),
            {name: read_folder(folder, DECISION_COLUMNS) for name, folder in others.items()},
            failed,
        )
        if verdict.chosen != "champion":
            winner = self._folder.challenger(cycle, verdict.chosen)
            self._keep_whole(winner, champion)
            champion = winner
        refused = refusal_of(record, champion)
        if known is None:
            text = verdict.model_dump_json(indent=2)
            write_text(with_refusal(text, refused) if refused is not None else text, record)
        due = verdict.publish and refused is None
        with self._lock:
            self._champion = champion
            self._live = champion if due else self._live
            self._decided = RecordedDecision.of(record, inputs)
            self._keep()
        # A publication that is not in the log was cut short by a crash, before or after its swap: it may be repeated.
        if publish and due and (self._published() != champion or self._last_logged() != champion.version):
            refused = self._go_live(champion, cycle)
        return CycleOutcome(
            cycle=cycle,
            chosen=verdict.chosen,
            champion=champion,
            published=self._published(),
            ended=verdict.ended,
            refused=refused.refused if refused is not None else None,
        )

    def _go_live(self, policy: PolicyRef, cycle: int) -> RefusedPublication | None:
        """Publish what a cycle decided; where the endpoint refuses it, the decision says so and the run goes on."""
        try:
            self.publish(policy, cycle)
        except PublicationRefusedError as error:
            note_refusal(self._folder.decision(cycle), error.refusal)
            with self._lock:
                self._live = self._published() or self._base
                self._keep()
            return error.refusal
        return None

    def _started_from(self, cycle: int) -> PolicyRef:
        """The champion a cycle began with, also once the cycle is decided."""
        jobs = (job for queue in self._assignments.values() for job in queue)
        return next((job.champion for job in jobs if job.cycle == cycle), self._champion)

    def recall(self, outcome: CycleOutcome) -> None:
        """Take up a cycle that an earlier process of this run finished."""
        with self._lock:
            self._champion = outcome.champion
            self._live = outcome.published or self._live
            self._keep()

    def _judgments(self, version: str, champion: PolicyRef) -> Path:
        return self._folder.evaluation_judgments("validation", version, self._judge or champion.version)

    def start_publisher(self) -> None:
        """Bring the endpoint up with what the decisions so far let go live; does nothing without a publisher.

        A decision whose publication a crash cut short is carried out as any other. What was live before comes first,
        because an endpoint that starts tries nothing.
        """
        if self._publisher is None:
            return
        log = read_publications(self._folder.publications)
        known = self._folder.find_challenger(self._live.version)
        if known is None or any(done.version == self._live.version for done in log):
            self._log(self._publisher.start(self._live))
            return
        due = self._live
        former = self._folder.find_challenger(log[-1].version) if log else None
        self._log(self._publisher.start(former[1] if former is not None else self._base))
        self._go_live(due, known[0])

    def publish(self, policy: PolicyRef, cycle: int) -> None:
        """Swap the endpoint to `policy` and append the publication to the run's log."""
        if self._publisher is None:
            return
        self._log(self._publisher.publish(policy, cycle))

    def _log(self, publication: Publication) -> None:
        publication = publication.model_copy(update={"path": self._names.policy(publication.path)})
        with self._lock:
            append_line(self._folder.publications, publication.model_dump_json().encode())

    def _last_logged(self) -> str | None:
        log = read_publications(self._folder.publications) if self._publisher is not None else []
        return log[-1].version if log else None

    def published_policy(self) -> PolicyRef | None:
        """What every replica must serve; a replica that starts later asks for it."""
        return self._published()

    def stop_publisher(self) -> None:
        if self._publisher is not None:
            self._publisher.stop()
