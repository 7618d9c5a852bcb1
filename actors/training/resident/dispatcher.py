"""Resident trainers that several runs share: one dispatcher hands them the jobs of all coordinators that have joined.

To a trainer it is a coordinator (`actors.training.resident.loop`), to a coordinator it is a trainer.

```
coordinator --join--> dispatcher --assignment--> a resident run --done | failed--> dispatcher --> that coordinator
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from actors.contract.actor_address import ActorAddress
from actors.contract.records import Assignment, ChallengerName, TrainReport


class CoordinatorGoneError(Exception):
    """A coordinator has ended, and with it the run whose jobs it gave."""


class JobSource(Protocol):
    """A coordinator as the dispatcher sees it; every call raises CoordinatorGoneError where it has ended."""

    def assignment(self, name: ChallengerName, index: int) -> Assignment | Literal["stop"] | None:
        """The job of this number of a challenger; None while there is none yet."""

    def progress(self, name: ChallengerName, step: int, total: int) -> None: ...

    def done(self, report: TrainReport) -> None: ...

    def failed(self, name: ChallengerName, index: int, sentence: str) -> None: ...

    def halted(self, sentence: str) -> None: ...


class ResidentRun(Protocol):
    """A Ray Train run that asks for jobs until it is told to stop."""

    def fault(self) -> str | None:
        """Why it has ended; None while it goes on."""

    def cancel(self) -> None:
        """End it at once, whatever it does."""


@dataclass
class _Source:
    """A coordinator, and the number of its next job by challenger."""

    address: ActorAddress
    jobs: JobSource
    following: dict[ChallengerName, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Handed:
    """A job in a trainer's hands."""

    source: _Source
    job: Assignment


class TrainingDispatcher:
    """Hands out jobs in turns, one coordinator after the other; each challenger's name has one run.

    A job stays in its trainer's hands until it is done or has failed: a run that Ray Train starts anew gets the same
    one. A run that has ended fails the job that it had, or else the next one, as no other run would train it.

    Life: `TrainingDispatcher(...)` -> `join`* -> (trainers: `assignment` -> `training_progress`* -> `training_done` |
    `training_failed`)*, `check`* -> `leave`* -> `stop`
    """

    def __init__(
        self,
        names: Iterable[ChallengerName],
        launch: Callable[[ChallengerName], ResidentRun],
        source: Callable[[ActorAddress], JobSource],
    ) -> None:
        """`launch` starts the run of a challenger; `source` finds the coordinator at an address."""
        self._launch, self._source = launch, source
        self._sources: list[_Source] = []
        self._handed: dict[ChallengerName, _Handed] = {}
        self._runs: dict[ChallengerName, ResidentRun | None] = dict.fromkeys(names)
        self._halted = self._stopped = False

    # For the runs that share the trainers

    def join(self, address: ActorAddress) -> None:
        """Take jobs of the coordinator there from now on; trainers that are not up are started."""
        if not any(source.address == address for source in self._sources):
            self._sources.append(_Source(address, self._source(address)))
        self._start()

    def check(self) -> None:
        """Tell the coordinators of runs that have ended, and start these anew while there are jobs."""
        for name, run in self._runs.items():
            if run is None or (fault := run.fault()) is None:
                continue
            self._runs[name] = None
            # A full disk is no fault of a job.
            handed = None if self._halted else self._handed.pop(name, None) or self._next(name)
            if handed is not None:
                self._fail(handed, fault)
            if handed is not None or self._halted:
                self._runs[name] = self._launch(name)
                self._halted = False

    def leave(self, address: ActorAddress) -> None:
        """Take no more jobs of the coordinator there; a trainer that has one ends, and is started anew for others.

        Nothing may write into the folder of a run that has ended, as another process may go on with it.
        """
        self._sources = [source for source in self._sources if source.address != address]
        for name, handed in list(self._handed.items()):
            if handed.source.address == address:
                del self._handed[name]
                if (run := self._runs[name]) is not None:
                    run.cancel()
                self._runs[name] = self._launch(name) if self._sources else None

    def stop(self) -> None:
        """Have all trainers end by themselves, as soon as they ask for a job."""
        self._stopped = True

    def ended(self) -> bool:
        """Whether no trainer is up."""
        return all(run is None or run.fault() is not None for run in self._runs.values())

    def _start(self) -> None:
        for name, run in self._runs.items():
            if run is None:
                self._runs[name] = self._launch(name)

    # For trainers, which take it for their coordinator

    def assignment(self, name: ChallengerName, index: int) -> Assignment | Literal["stop"] | None:
        """A trainer's next job; None while there is none, "stop" once there will be none. It counts by itself."""
        del index
        if self._stopped:
            return "stop"
        handed = self._handed.get(name) or self._next(name)
        if handed is None:
            return None
        self._handed[name] = handed
        return handed.job

    def training_progress(self, name: ChallengerName, step: int, total: int) -> None:
        if (handed := self._handed.get(name)) is not None:
            self._tell(handed.source, lambda jobs: jobs.progress(name, step, total))

    def training_done(self, report: TrainReport) -> None:
        if (handed := self._handed.pop(report.name, None)) is not None:
            self._tell(handed.source, lambda jobs: jobs.done(report))

    def training_failed(self, name: ChallengerName, index: int, sentence: str) -> None:
        """One job fails alone. `index` is the trainer's own number of it."""
        del index
        if (handed := self._handed.pop(name, None)) is not None:
            self._fail(handed, sentence)

    def training_halted(self, sentence: str) -> None:
        """A disk is full: every run that has a job in a trainer's hands is told, and ends by that."""
        for source in {handed.source.address: handed.source for handed in self._handed.values()}.values():
            self._tell(source, lambda jobs: jobs.halted(sentence))
        # The run that found it ends by itself.
        self._handed.clear()
        self._halted = True

    def _next(self, name: ChallengerName) -> _Handed | None:
        """A job that waits, of the coordinator whose last one was handed out the longest ago."""
        for source in list(self._sources):
            index = source.following.get(name, 0)
            answer = self._asked(source, name, index)
            if isinstance(answer, Assignment):
                source.following[name] = index + 1
                self._sources.remove(source)
                self._sources.append(source)
                return _Handed(source, answer)
        return None

    def _asked(self, source: _Source, name: ChallengerName, index: int) -> Assignment | Literal["stop"] | None:
        try:
            return source.jobs.assignment(name, index)
        except CoordinatorGoneError:
            self.leave(source.address)
            return None

    def _fail(self, handed: _Handed, sentence: str) -> None:
        job = handed.job
        self._tell(handed.source, lambda jobs: jobs.failed(job.name, job.index, sentence))

    def _tell(self, source: _Source, what: Callable[[JobSource], None]) -> None:
        try:
            what(source.jobs)
        except CoordinatorGoneError:
            self.leave(source.address)
