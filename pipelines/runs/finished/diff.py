"""Two runs side by side: settings, versions, artefacts by content in the order they are made, and test figures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

from actors.contract.run_folder import RunFolder
from pipelines.config.difference import Difference, differences
from pipelines.measures.metrics import MAIN_FIGURES
from pipelines.runs.finished.busy import is_finished
from pipelines.runs.finished.lineage import Kind, Node, lineage
from pipelines.runs.finished.manifest import known_sums, present_sums, read_manifest
from pipelines.runs.finished.shape import RunShape, names_below, recipe_of_run, settings_tree, shape_of
from pipelines.runs.open import RunRecord, read_run_record
from pipelines.runs.summary import Measured, Summary, find_summary

# content: the runs did something else; circumstances: only files differ that hold times, folders or costs.
Way = Literal["content", "circumstances", "only in A", "only in B"]
# Files that hold times or the run's own name, or in runs of earlier versions absolute paths: the same run made twice
# differs in them.
CIRCUMSTANCES = frozenset(
    {
        "recipe.yaml", "run.json", "assignment.json", "adapter_config.json", "report.json", "stages.json",
        "publications.jsonl", "metrics.parquet", "summary.json",
    }
)  # fmt: skip
WHO = ("base", "champion")
FIGURES = MAIN_FIGURES


@dataclass(frozen=True)
class ArtefactDifference:
    """One artefact that the two runs do not share."""

    path: str
    kind: Kind
    way: Way
    # Files that differ, of so many.
    differ: int
    files: int


@dataclass(frozen=True)
class FigureDifference:
    """One figure of the test split in both runs; None where a run has no summary or could not measure it."""

    who: str
    figure: str
    a: Measured | None
    b: Measured | None


@dataclass(frozen=True)
class RunDifference:
    """All in which two runs differ; figures are listed whether they differ or not."""

    settings: tuple[Difference, ...]
    # Packages, machine, revision, and where both runs have a manifest the models that came from outside.
    versions: tuple[Difference, ...]
    artefacts: tuple[ArtefactDifference, ...]
    figures: tuple[FigureDifference, ...]

    @property
    def parting(self) -> ArtefactDifference | None:
        """The first artefact, in the order they are made, whose content differs: where the two runs part."""
        return next((each for each in self.artefacts if each.way != "circumstances"), None)

    @property
    def differs(self) -> bool:
        """Whether anything differs but the circumstances."""
        return bool(self.settings or self.versions or self.parting)


def diff_runs(a: RunFolder, b: RunFolder) -> RunDifference:
    """Compare two run folders, by their sums where they are finished and else by reading their files.

    Raises:
        SalusError: one is not a run, or something in it cannot be read.
    """
    sums_a, sums_b = _sums(a), _sums(b)
    shape_a, shape_b = shape_of(a, recipe_of_run(a), sums_a), shape_of(b, recipe_of_run(b), sums_b)
    return RunDifference(
        settings=tuple(differences(settings_tree(a), settings_tree(b))),
        versions=(*differences(_versions(read_run_record(a)), _versions(read_run_record(b))), *_models(a, b)),
        artefacts=tuple(artefact_differences(sums_a, sums_b, shape_a, shape_b)),
        figures=tuple(_figures(find_summary(a.summary), find_summary(b.summary))),
    )


def artefact_differences(
    sums_a: Mapping[str, str], sums_b: Mapping[str, str], shape_a: RunShape, shape_b: RunShape
) -> Iterator[ArtefactDifference]:
    """Artefacts whose files differ, in the order they are made.

    `sums_a`, `sums_b`: SHA-256 by name of the files the shapes have.
    """
    names_a, names_b = sorted(sums_a), sorted(sums_b)
    for node in merged_order(lineage(shape_a), lineage(shape_b)):
        in_a, in_b = names_below(names_a, node.path), names_below(names_b, node.path)
        names = {*in_a, *in_b}
        differ = {name for name in names if sums_a.get(name) != sums_b.get(name)}
        if differ:
            way = _way(differ, bool(in_a), bool(in_b))
            # A run is made by a model, not by its copy; whether it was another one says the model's own hash.
            way = "circumstances" if node.kind == "model" else way
            yield ArtefactDifference(node.path, node.kind, way, len(differ), len(names))


def merged_order(a: Sequence[Node], b: Sequence[Node]) -> Iterator[Node]:
    """All artefacts of two runs, each once, in an order that is both runs' own."""
    in_a = {node.path for node in a}
    waiting = deque(b)
    for node in a:
        if any(node.path == other.path for other in waiting):
            while (other := waiting.popleft()).path != node.path:
                if other.path not in in_a:
                    yield other
        yield node
    yield from (other for other in waiting if other.path not in in_a)


def _way(differ: Set[str], in_a: bool, in_b: bool) -> Way:
    if not in_b:
        return "only in A"
    if not in_a:
        return "only in B"
    return "circumstances" if all(name.split("/")[-1] in CIRCUMSTANCES for name in differ) else "content"


def _sums(folder: RunFolder) -> dict[str, str]:
    return known_sums(folder) if is_finished(folder) else present_sums(folder)


def _versions(record: RunRecord) -> dict[str, Any]:
    return record.model_dump(include={"packages", "python", "machine", "git_revision"})


def _models(a: RunFolder, b: RunFolder) -> Iterator[Difference]:
    of_a, of_b = read_manifest(a), read_manifest(b)
    if of_a is not None and of_b is not None:
        yield from differences({m.name: m.sha256 for m in of_a.outside}, {m.name: m.sha256 for m in of_b.outside})


def _figures(a: Summary | None, b: Summary | None) -> Iterator[FigureDifference]:
    for who in WHO:
        for figure in FIGURES:
            of_a, of_b = (getattr(getattr(each.test, who), figure) if each else None for each in (a, b))
            if of_a is not None or of_b is not None:
                yield FigureDifference(who, figure, of_a, of_b)
