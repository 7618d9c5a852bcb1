"""Stages outside finished cycles: those of a run's sessions, and what an interrupted cycle had spent.

Each is kept as it ends, under those of former sessions, so that a run that is resumed forgets no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.files.atomic import append_line
from actors.files.records import read_lines
from pipelines.cluster.times import StageClock, StageTime, Stopwatch, timed


class LoggedStage(Record):
    """One line of the log."""

    # The cycle that was interrupted; None for a stage of the run itself, such as its start-up.
    cycle: int | None = None
    time: StageTime


class StageLog:
    """The stages of a run that belong to no finished cycle."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.stage_log

    def stage(self, name: str) -> AbstractContextManager[Stopwatch]:
        """Time a stage of the run."""
        return timed(name, lambda time: self.keep([LoggedStage(time=time)]))

    def keep(self, stages: Iterable[LoggedStage]) -> None:
        """Add lines."""
        for stage in stages:
            append_line(self._path, stage.model_dump_json().encode())


@contextmanager
def cycle_clock(folder: RunFolder, cycle: int) -> Iterator[StageClock]:
    """A cycle's clock; its stages are written when the cycle is done, and logged where it is interrupted."""
    clock = StageClock(cycle)
    done = False
    try:
        yield clock
        done = True
    finally:
        if done:
            clock.write(folder.stages(cycle))
        else:
            StageLog(folder).keep(LoggedStage(cycle=cycle, time=stage) for stage in clock.times().stages)


def read_stage_log(folder: RunFolder) -> list[LoggedStage]:
    """The log's lines in order; none where an earlier version made the run.

    Raises:
        SalusError: a line is not a stage.
    """
    return read_lines(
        LoggedStage, folder.stage_log, "the time of a stage", "delete the file, which no result depends on"
    )
