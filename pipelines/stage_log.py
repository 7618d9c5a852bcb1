"""Stages outside finished cycles: those of a run's sessions, and what an interrupted cycle had spent.

Each is kept as it ends, under those of former sessions, so that a run that is resumed forgets no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from actors.errors import SalusError
from actors.records import Record
from actors.run_folder import RunFolder
from actors.tables import write_text
from pipelines.clock import StageClock, StageTime, Stopwatch


class LoggedStage(Record):
    """One line of the log."""

    # The cycle that was interrupted; None for a stage of the run itself, such as its start-up.
    cycle: int | None = None
    time: StageTime


class StageLog:
    """The stages of a run that belong to no finished cycle."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.stage_log

    @contextmanager
    def stage(self, name: str) -> Iterator[Stopwatch]:
        """Time a stage of the run; one that ends with an error counts too."""
        watch = Stopwatch(name)
        try:
            yield watch
        finally:
            self.keep([LoggedStage(time=watch.stop())])

    def keep(self, stages: Iterable[LoggedStage]) -> None:
        """Add lines; the file is replaced as a whole, so that a killed run leaves no half line."""
        known = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        write_text(known + "".join(stage.model_dump_json() + "\n" for stage in stages), self._path)


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
    path: Path = folder.stage_log
    stages: list[LoggedStage] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), start=1):
        try:
            stages.append(LoggedStage.model_validate_json(line))
        except ValidationError as error:
            raise SalusError(
                f"{path}, line {number} is not the time of a stage; delete the file, which no result depends on."
            ) from error
    return stages
