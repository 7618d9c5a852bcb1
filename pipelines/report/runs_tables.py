"""The tables of `salus runs`: a list of runs, what one holds, in what two differ, and what may be removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from actors.contract.publication import Publication
from pipelines.config.difference import Difference
from pipelines.decision.record import Decision
from pipelines.report.cells import NOTHING, narrow_table
from pipelines.runs.finished.audit import AuditedDecision
from pipelines.runs.finished.catalog import RunLine, UnreadableRun
from pipelines.runs.finished.diff import ArtefactDifference, FigureDifference, RunDifference
from pipelines.runs.finished.gc import GcPlan
from pipelines.runs.finished.holdings import Holding
from pipelines.runs.summary import Measured

SHORT_HASH = 12
NAME_WIDTH = 8
SHOWN_DIFFERENCES = 3


def runs_table(runs: Sequence[RunLine | UnreadableRun]) -> Group:
    """One row per run; the fault of one that cannot be read is in full below."""
    table = narrow_table("run", "recipe, seed", "cycles", "champion", "SS test", "wall", "size", "run hash")
    # Names give way before figures do, but not wholly.
    for column in table.columns[:2]:
        column.min_width = NAME_WIDTH
    for column in table.columns[2:]:
        column.no_wrap = True
    for run in runs:
        if isinstance(run, UnreadableRun):
            table.add_row(Text(run.name), Text("unreadable", style="red"))
            continue
        table.add_row(
            Text(run.name),
            Text(f"{run.recipe}, {run.seed}"),
            f"{run.cycles_done}/{run.cycles}",
            run.champion or NOTHING,
            f"{_value(run.ss_base)} ->\n{_value(run.ss_champion)}" if run.ss_champion else NOTHING,
            f"{run.wall_s:.0f} s",
            decimal(run.bytes),
            run.run_hash[:SHORT_HASH] if run.run_hash else NOTHING,
        )
    # A whole sentence would squeeze every column of the table.
    return Group(table, *(Text(f"{r.name}: {r.fault}") for r in runs if isinstance(r, UnreadableRun)))


def holdings_table(holdings: Iterable[Holding]) -> Table:
    """The artefacts of a run, in the order they were made."""
    table = narrow_table("artefact", "kind", "files", "size", "sha256")
    for each in holdings:
        size = decimal(each.bytes) if each.bytes is not None else "removed"
        table.add_row(Text(each.path), each.kind, str(each.files), size, (each.sha256 or NOTHING)[:SHORT_HASH])
    return table


def differences_table(title: str, differences: Iterable[Difference]) -> Table:
    """Settings or versions that differ, one row each."""
    table = narrow_table(title, "A", "B")
    for each in differences:
        table.add_row(Text(each.name), Text(_plain(each.known)), Text(_plain(each.asked)))
    return table


def audit_table(decisions: Iterable[AuditedDecision]) -> Table:
    """What was decided, what the same judgments give now, and what in the record is another."""
    table = narrow_table("cycle", "recorded", "made again", "differs in")
    for each in decisions:
        names = [found.name for found in each.differences]
        more = f" and {len(names) - SHOWN_DIFFERENCES} more" if len(names) > SHOWN_DIFFERENCES else ""
        table.add_row(
            str(each.recorded.cycle),
            _choice(each.recorded),
            Text(_choice(each.now), style="" if each.same_choice else "red"),
            Text(", ".join(names[:SHOWN_DIFFERENCES]) + more or "nothing"),
        )
    return table


def _choice(decision: Decision) -> str:
    if decision.publication is not None:
        return f"{decision.chosen}, refused at publication"
    if decision.approval is not None:
        return f"{decision.chosen}, awaits approval"
    return f"{decision.chosen}, {'published' if decision.publish else 'not published'}"


def artefacts_table(artefacts: Iterable[ArtefactDifference]) -> Table:
    """Artefacts that differ, in the order they are made."""
    table = narrow_table("artefact", "differs in", "files")
    for each in artefacts:
        table.add_row(Text(each.path), each.way, f"{each.differ} of {each.files}")
    return table


def figures_table(figures: Iterable[FigureDifference]) -> Table:
    """Figures of the test split side by side."""
    table = narrow_table("test split", "A", "B", "B - A")
    for each in figures:
        apart = f"{each.b.value - each.a.value:+.3f}" if each.a and each.b else NOTHING
        table.add_row(f"{each.who} {each.figure}", _value(each.a), _value(each.b), apart)
    return table


def gc_table(plans: Iterable[GcPlan]) -> Table:
    """What would be removed, run by run."""
    table = narrow_table("run", "what", "path", "size")
    for plan in plans:
        for item in plan.items:
            path = item.path.relative_to(plan.folder.root).as_posix()
            table.add_row(Text(plan.folder.root.name), item.waste, Text(path), decimal(item.bytes))
    return table


def difference_tables(found: RunDifference) -> Group:
    """All in which two runs differ; where they part is said in words."""
    parts: list[Table | Text] = []
    if found.settings:
        parts.append(differences_table("setting", found.settings))
    if found.versions:
        parts.append(differences_table("made under", found.versions))
    telling = [each for each in found.artefacts if each.way != "circumstances"]
    if telling:
        parts.append(artefacts_table(telling))
    if len(telling) < len(found.artefacts):
        parts.append(Text(f"{len(found.artefacts) - len(telling)} artefacts differ in times, folders or costs alone."))
    parts.append(Text(_parting(found)))
    if found.figures:
        parts.append(figures_table(found.figures))
    return Group(*parts)


def publications_table(publications: Iterable[Publication]) -> Table:
    """What was put live, and when."""
    table = narrow_table("published", "cycle", "at", "swap", "replicas")
    for each in publications:
        swap = f"{each.swap_s:.2f} s" if each.swap_s else NOTHING
        table.add_row(Text(each.version), str(each.cycle), Text(each.published_at), swap, str(each.replicas))
    return table


def _parting(found: RunDifference) -> str:
    if found.parting is None:
        return "The runs made the same."
    return f"The runs part at {found.parting.path} ({found.parting.kind}, {found.parting.way})."


def _value(measured: Measured | None) -> str:
    return NOTHING if measured is None else f"{measured.value:.3f}"


def _plain(value: object) -> str:
    return NOTHING if value is None else str(value)
