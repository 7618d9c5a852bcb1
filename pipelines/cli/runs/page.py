"""What `salus runs show` prints of one run, from the tables that other commands have."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from actors.contract.publication import read_publications
from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from pipelines.cli.align import show
from pipelines.cli.console.output import console
from pipelines.config.recipe import Recipe
from pipelines.decision.ending import is_over, past_decisions
from pipelines.judges.evidence import read_trust
from pipelines.report.runs_tables import holdings_table, publications_table
from pipelines.report.summary_tables import published_table
from pipelines.runs.checksums import run_hash
from pipelines.runs.finished.holdings import holdings
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.open import RunRecord, read_run_record
from pipelines.runs.summary import Summary, find_published, find_summary


class CycleProgress(Record):
    """How far one cycle is: shards of answers and judgments, trained challengers, and what was decided."""

    cycle: int
    rollouts: int
    judgments: int
    trained: tuple[str, ...]
    # None: not decided yet.
    decision: str | None
    # Why the run is over before its last cycle, where this was the last one.
    ended: str | None = None


def progress_of(folder: RunFolder, recipe: Recipe) -> tuple[CycleProgress, ...]:
    """How far each cycle of a run is, up to the last that there will be."""
    decisions = past_decisions(folder, recipe.cycles)
    chosen = {decision.cycle: decision.chosen for decision in decisions}
    last = len(decisions) if is_over(decisions, recipe.cycles) else recipe.cycles
    return tuple(
        CycleProgress(
            cycle=cycle,
            rollouts=_shards(folder.rollouts(cycle)),
            judgments=_shards(folder.judgments(cycle)),
            trained=tuple(a for a in recipe.contestants if (folder.training(cycle, a) / "report.json").is_file()),
            decision=chosen.get(cycle),
            ended=decisions[-1].ended if cycle == last < recipe.cycles else None,
        )
        for cycle in range(1, last + 1)
    )


def facts_of(folder: RunFolder) -> dict[str, object]:
    """What `print_run` shows, for a program. Raises SalusError as it does."""
    recipe, summary = recipe_of_run(folder), find_summary(folder.summary)
    return {
        "recipe": {"name": recipe.name, "seed": recipe.seed, "cycles": recipe.cycles},
        "record": read_run_record(folder),
        "run_hash": run_hash(folder),
        "cycles": progress_of(folder, recipe),
        "decisions": past_decisions(folder, recipe.cycles),
        "summary": summary,
        "published": summary.published if summary is not None else find_published(folder, recipe.cycles),
        "judge_trust": read_trust(folder),
        "publications": read_publications(folder.publications),
        "artefacts": list(holdings(folder, recipe)),
    }


def print_run(folder: RunFolder, where: object = None) -> None:
    """Print one run; `where` it is, if not in this folder.

    Raises:
        SalusError: it is not a run, or something in it cannot be read.
    """
    recipe, record, summary = recipe_of_run(folder), read_run_record(folder), find_summary(folder.summary)
    out = console()
    out.print(_head(where or folder.root, recipe, record, run_hash(folder)), highlight=False)
    out.print(progress_table(recipe, progress_of(folder, recipe)))
    if summary is not None:
        # The decisions' sentences are among it.
        show(summary)
    else:
        for decision in past_decisions(folder, recipe.cycles):
            out.print(decision.sentence, markup=False, highlight=False)
            if decision.probe is not None:
                out.print(decision.probe.sentence, markup=False, highlight=False)
            if decision.publication is not None:
                out.print(decision.publication.refused, markup=False, highlight=False)
        if published := find_published(folder, recipe.cycles):
            out.print(published_table(published))
    _print_trust(folder, summary)
    if publications := read_publications(folder.publications):
        out.print(publications_table(publications), highlight=False)
    out.print(holdings_table(holdings(folder, recipe)), highlight=False)


def _head(where: object, recipe: Recipe, record: RunRecord, sums: str | None) -> Table:
    """What was run, under what, and at what cost."""
    table = Table.grid(padding=(0, 2))
    rows = {
        "run": str(where),
        "recipe": f"{recipe.name}, seed {recipe.seed}, {recipe.cycles} cycles",
        "policy": _model(record.policy_path, record.policy_sha256),
        "judge": f"{recipe.judge.regimen}{f', {Path(record.judge_path).name}' if record.judge_path else ''}",
        "packages": ", ".join(f"{name} {version}" for name, version in record.packages.items()),
        "python": f"{record.python}, {record.machine}",
        "git revision": record.git_revision,
        "cost": f"{record.wall_s:.0f} s, peak memory {record.peak_memory_gib:.1f} GiB",
        "run hash": sums or "not finished",
    }
    for name, value in rows.items():
        table.add_row(name, Text(value or "-", overflow="fold"))
    return table


def _model(path: str | None, sha256: str | None) -> str | None:
    return f"{path}, SHA-256 {sha256[:12]}" if path is not None and sha256 is not None else path


def _print_trust(folder: RunFolder, summary: Summary | None) -> None:
    trust = read_trust(folder)
    if trust is None:
        console().print("Nothing is recorded of how far the judge may be trusted.")
    elif summary is None or trust.note not in summary.notes:
        console().print(trust.note, markup=False, highlight=False)


def progress_table(recipe: Recipe, cycles: tuple[CycleProgress, ...]) -> Table:
    """How far each cycle of a run is."""
    table = Table(title=f"{recipe.name}, seed {recipe.seed}")
    for column in ("cycle", "rollouts", "judgments", "trained", "decision"):
        table.add_column(column)
    for each in cycles:
        shards = (f"{count} shards" if count else "-" for count in (each.rollouts, each.judgments))
        table.add_row(str(each.cycle), *shards, ", ".join(each.trained) or "-", each.decision or "-")
    if cycles and cycles[-1].ended is not None:
        table.caption = Text(cycles[-1].ended)
    return table


def _shards(folder: Path) -> int:
    return len(list(folder.glob("*.parquet")))
