"""A run's times as its folder holds them, whichever version of Salus wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from actors.errors import SalusError
from actors.run_folder import RunFolder
from pipelines.clock import CycleTimes, StageTime
from pipelines.stage_log import read_stage_log
from pipelines.timeline.lanes import Bar, PlacedStage, Timeline, lanes_of

PUBLICATION, ENDPOINT_START = "publication", "endpoint start"


class _Published(BaseModel):
    """What is read of `actors.publisher.Publication`, whose module takes seconds to import."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cycle: int
    published_at: datetime
    began_at: datetime | None = None
    swap_s: float
    previous: str | None = None

    @property
    def bar(self) -> Bar:
        end_s = self.published_at.timestamp()
        start_s = self.began_at.timestamp() if self.began_at is not None else end_s - self.swap_s
        name = ENDPOINT_START if self.previous is None else PUBLICATION
        return Bar(name, start_s, end_s, self.cycle or None)


@dataclass(frozen=True)
class _Stage:
    cycle: int | None
    time: StageTime


def read_timeline(folder: RunFolder) -> Timeline:
    """Where a run's time went, as far as it has come.

    Raises:
        SalusError: it is no run folder, holds no times yet, or holds a damaged file of times.
    """
    if not folder.recipe.is_file():
        raise SalusError(f"{folder.root} is not a run folder: it has no {folder.recipe.name}.")
    found = list(_stages(folder))
    if not found:
        raise SalusError(
            f"{folder.root} holds no times yet: salus align writes them as stages end; single steps write none."
        )
    stages = _placed(found)
    began_s = min((s.time.start_s for s in found if s.time.start_s is not None), default=None)
    # Where no stage's time of day is known, that of a publication cannot be drawn beside them.
    published = [] if began_s is None else [bar for bar in _publications(folder) if bar.end_s > began_s]
    return Timeline(
        run=folder.root.name,
        stages=stages,
        lanes=lanes_of(stages, published),
        unplaced=sum(stage.time.start_s is None for stage in found),
    )


def _stages(folder: RunFolder) -> Iterator[_Stage]:
    for cycle in folder.timed_cycles():
        path = folder.stages(cycle)
        try:
            times = CycleTimes.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise SalusError(f"{path} does not hold the times of a cycle; take it from a copy or delete it.") from error
        yield from (_Stage(cycle, time) for time in times.stages)
    yield from (_Stage(logged.cycle, logged.time) for logged in read_stage_log(folder))


def _placed(found: list[_Stage]) -> tuple[PlacedStage, ...]:
    """Stages in order of time; those without a beginning are laid end to end before all others."""
    known = [PlacedStage(s.time, s.time.start_s, s.cycle) for s in found if s.time.start_s is not None]
    unknown = [s for s in found if s.time.start_s is None]
    length_s = sum(stage.time.wall_s for stage in unknown)
    start_s = min((stage.start_s for stage in known), default=length_s) - length_s
    for stage in unknown:
        known.append(PlacedStage(stage.time, start_s, stage.cycle))
        start_s += stage.time.wall_s
    return tuple(sorted(known, key=lambda stage: stage.start_s))


def _publications(folder: RunFolder) -> Iterator[Bar]:
    path: Path = folder.publications
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else (), start=1):
        try:
            yield _Published.model_validate_json(line).bar
        except ValidationError as error:
            raise SalusError(f"{path}, line {number} is not a publication; take the file from a copy.") from error
