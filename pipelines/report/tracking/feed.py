"""What a run folder has to tell a tracker by now, read from its files alone; also while the run goes on.

Figures, decisions, settings and a few files. No prompt, no answer and no judgment is among them. Of weights there are
the adapters of policies that won.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.contract.records import Interval
from actors.contract.run_folder import RunFolder
from pipelines.cluster.times import find_times
from pipelines.config.recipe import Recipe
from pipelines.decision.ending import past_decisions
from pipelines.decision.record import CandidateResult, Decision
from pipelines.measures.metrics import MAIN_FIGURES
from pipelines.report.curves import run_curves
from pipelines.report.tracking.port import Setting, TrackedPolicy
from pipelines.runs.summary import Measured, TestFigures, find_published, find_summary

Row = tuple[int, Mapping[str, float]]


@dataclass(frozen=True)
class Series:
    """Figures at steps that rise; `name` is also the name of the steps."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Feed:
    """All that can be told by now, in the order it came about."""

    settings: Mapping[str, Setting]
    series: tuple[Series, ...]
    sentences: Mapping[str, str]
    # By name in the run folder.
    files: Mapping[str, Path]
    policies: tuple[TrackedPolicy, ...]


def read_feed(folder: RunFolder, recipe: Recipe) -> Feed:
    """What a run has to tell by now.

    Raises:
        SalusError: a file of the run cannot be read.
    """
    decisions = past_decisions(folder, recipe.cycles)
    series = [*_curves(folder, recipe), *_by_cycle(folder, decisions), *_test(folder, len(decisions))]
    return Feed(
        settings=dict(flat(recipe.model_dump(mode="json"))),
        series=tuple(each for each in series if each.rows),
        sentences={f"decision/{each.cycle:02d}": f"{each.sentence} {each.publication_sentence}" for each in decisions},
        files={path.relative_to(folder.root).as_posix(): path for path in _files(folder, recipe) if path.is_file()},
        policies=tuple(_policies(folder, decisions)),
    )


def flat(tree: Any, at: str = "") -> Iterator[tuple[str, Setting]]:
    """Each setting of a resolved recipe by its dotted name; lists in one piece, what is not set left out."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flat(value, f"{at}.{key}" if at else str(key))
    elif tree is not None:
        yield at, tree if isinstance(tree, str | int | float) else str(tree)


# -- training


def _curves(folder: RunFolder, recipe: Recipe) -> Iterator[Series]:
    for curve in run_curves(folder, recipe):
        name = f"train/{curve.challenger}"
        rows = ((step, {f"{name}/{figure}": value for figure, value in row.items()}) for step, row in curve.steps())
        yield Series(f"{name}/step", tuple(rows))


# -- cycles


def _by_cycle(folder: RunFolder, decisions: Sequence[Decision]) -> Iterator[Series]:
    yield Series("cycle", tuple((each.cycle, _of_cycle(folder, each)) for each in decisions))
    shown = find_published(folder, len(decisions)) or ()
    yield Series(
        "published/cycle",
        tuple((each.cycle, dict(_figures("published", each.truth or each.figures))) for each in shown),
    )


def _of_cycle(folder: RunFolder, decision: Decision) -> dict[str, float]:
    figures = {
        "decision/replaced": float(decision.chosen != "champion"),
        "decision/published": float(decision.let_live),
    }
    for result in (decision.champion, *decision.challengers):
        figures |= dict(_validation(result))
    times = find_times(folder.stages(decision.cycle))
    return figures | {f"seconds/{each.stage}": each.wall_s for each in (times.stages if times is not None else ())}


def _validation(result: CandidateResult) -> Iterator[tuple[str, float]]:
    for figure in MAIN_FIGURES:
        yield from _interval(f"validation/{result.name}/{figure}", getattr(result.metrics, figure, None))


def _test(folder: RunFolder, cycle: int) -> Iterator[Series]:
    """The final test, at the last cycle."""
    summary = find_summary(folder.summary)
    if summary is None:
        return
    figures: dict[str, float] = {}
    for name in ("base", "champion"):
        figures |= dict(_figures(f"test/{name}", getattr(summary.test, name)))
    yield Series("test/cycle", ((cycle, figures),))


def _figures(name: str, figures: TestFigures) -> Iterator[tuple[str, float]]:
    for figure in MAIN_FIGURES:
        yield from _interval(f"{name}/{figure}", getattr(figures, figure))


def _interval(name: str, found: Interval | Measured | None) -> Iterator[tuple[str, float]]:
    """A figure and the ends of its 95 % interval. MLflow's file store takes no figure below another's name."""
    if found is not None:
        yield from ((name, found.value), (f"{name}_low", found.low), (f"{name}_high", found.high))


# -- files and policies


def _files(folder: RunFolder, recipe: Recipe) -> Iterator[Path]:
    yield folder.recipe
    for cycle in range(1, recipe.cycles + 1):
        for name in recipe.train.challengers:
            # A curve that still grows is in the figures.
            if (report := folder.training(cycle, name) / "report.json").is_file():
                yield from (report, folder.curve(cycle, name))
        yield from (folder.decision(cycle), folder.published_figures(cycle), folder.stages(cycle))
    yield from (folder.metrics, folder.figure, folder.summary, folder.manifest, folder.sums)


def _policies(folder: RunFolder, decisions: Sequence[Decision]) -> Iterator[TrackedPolicy]:
    """The winners of all cycles, oldest first."""
    winners = [each for each in decisions if each.chosen != "champion"]
    live = next((each.cycle for each in reversed(winners) if each.let_live), None)
    waits = winners[-1].cycle if winners and not winners[-1].let_live else None
    for each in winners:
        adapter = folder.training(each.cycle, each.chosen) / "adapter"
        found = folder.challenger(each.cycle, each.chosen)
        yield TrackedPolicy(
            version=found.version,
            cycle=each.cycle,
            alias="champion" if each.cycle == live else "challenger" if each.cycle == waits else None,
            sentence=f"{each.sentence} {each.publication_sentence}",
            adapter=adapter if adapter.is_dir() else None,
            weights=Path(found.path),
        )
