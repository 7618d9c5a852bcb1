"""A run's times as its folder holds them, whichever version of Salus wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from actors.contract.publication import Publication, read_publications
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cluster.times import StageTime, find_times
from pipelines.report.timeline.lanes import Bar, PlacedStage, Timeline, lanes_of
from pipelines.runs.stage_log import read_stage_log

PUBLICATION, ENDPOINT_START = "publication", "endpoint start"


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
    bars = map(_bar, read_publications(folder.publications))
    published = [bar for bar in bars if began_s is not None and bar.end_s > began_s]
    return Timeline(
        run=folder.root.name,
        stages=stages,
        lanes=lanes_of(stages, published),
        unplaced=sum(stage.time.start_s is None for stage in found),
    )


def _stages(folder: RunFolder) -> Iterator[_Stage]:
    for cycle in folder.timed_cycles():
        times = find_times(folder.stages(cycle))
        yield from (_Stage(cycle, time) for time in (times.stages if times else ()))
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


def _bar(live: Publication) -> Bar:
    end_s = datetime.fromisoformat(live.published_at).timestamp()
    start_s = datetime.fromisoformat(live.began_at).timestamp() if live.began_at is not None else end_s - live.swap_s
    return Bar(ENDPOINT_START if live.previous is None else PUBLICATION, start_s, end_s, live.cycle or None)
