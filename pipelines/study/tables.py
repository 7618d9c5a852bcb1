"""The study's tables: as plain rows of words, on the console, and as a Markdown page."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from actors.contract.records import Interval, Record
from pipelines.measures.capability.figures import Capability
from pipelines.measures.harmfulness import Harmfulness
from pipelines.report.cells import NOTHING, ends_text, narrow_table
from pipelines.runs.summary import CycleFigures, CycleSummary, JudgedBy, Measured, Summary, TestFigures, challengers_of
from pipelines.study.results import StudyReport, figures_by, judged_by, reference

OWN_JUDGE = "each run's own judge"
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~])")


class Grid(Record):
    """A table: every row has as many cells as there are columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def grids(report: StudyReport) -> tuple[Grid, ...]:
    """All tables of a study, in the order of the paper's figures; those without a row are left out."""
    made = (
        cells_grid(report),
        after_one_cycle(report),
        progress(report),
        best_on_test(report),
        demonstrated(report),
        wins_grid(report),
        correlations_grid(report),
    )
    return tuple(grid for grid in made if grid.rows)


def cells_grid(report: StudyReport) -> Grid:
    """How each cell ended, how long it took, and how good its judge was."""
    rows = []
    for cell in report.cells:
        summary = cell.summary
        wall = f"{summary.wall_s:.0f}" if summary else NOTHING
        rows.append((cell.model, cell.regimen, cell.state, wall, _kappa(summary)))
    return Grid(
        title="Cells",
        columns=("model", "regimen", "state", "wall s", "judge's kappa"),
        rows=tuple(rows),
        note="Kappa: of the judge's labels on the test split against the reference labels.",
    )


def after_one_cycle(report: StudyReport) -> Grid:
    """SS and ERR of base and challengers after the first cycle; as Figure 2."""
    rows = []
    names = challengers_of(summary.cycles[0] for _, summary in report.complete)
    for cell, summary in report.complete:
        cycle = summary.cycles[0]
        for by, figures in figures_by(cycle).items():
            of = (figures.get(name) for name in ("champion", *names))
            rows.append((cell.model, cell.regimen, by, *map(_two, of), cycle.decision))
    return Grid(
        title=f"After one cycle: validation split, SS/ERR strict, by the run's judge and by {reference(report)}",
        columns=("model", "regimen", "by", "base", *(name.upper() for name in names), "chosen"),
        rows=tuple(rows),
    )


def progress(report: StudyReport) -> Grid:
    """The champion after each cycle; as Figures 3 and 4."""
    rows = []
    for cell, summary in report.complete:
        for by in figures_by(summary.cycles[0]):
            after = (f"{cycle.decision}\n{_two(_winner(cycle, by))}" for cycle in summary.cycles)
            # A run that patience ended early has fewer cycles than the study asked for.
            left = [NOTHING] * (report.cycles - len(summary.cycles))
            rows.append((cell.model, cell.regimen, by, *after, *left))
    return Grid(
        title="Champion after each cycle: validation split, who won and its SS/ERR strict",
        columns=("model", "regimen", "by", *(f"cycle {i}" for i in range(1, report.cycles + 1))),
        rows=tuple(rows),
    )


def best_on_test(report: StudyReport) -> Grid:
    """The deployed model against each regimen's last champion on the test split; as Figure 5."""
    rows: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for cell, summary in sorted(report.complete, key=lambda of: of[0].model):
        if cell.model not in seen:
            seen.add(cell.model)
            rows.append((cell.model, "base", *_test(summary.test.base)))
        best = " *" if report.best.get(cell.model) == cell.regimen else ""
        rows.append((cell.model, f"{cell.regimen}{best}", *_test(summary.test.champion)))
    by = judged_by(report)
    yardstick = "" if by == "truth" else " Every cell is judged by its own judge: they do not share one yardstick."
    return Grid(
        title=f"Test split, by {reference(report) if by == 'truth' else OWN_JUDGE}; 95 % intervals",
        columns=("model", "policy", "SS", "ERR strict", "ASR", "answered", "n"),
        rows=tuple(rows),
        note=f"*: of the model's last champions the one with the highest SS on the validation split.{yardstick}",
    )


def demonstrated(report: StudyReport) -> Grid:
    """Fine-tuning on demonstrations, alignment, and both, where a cell has the first; the test split of every cell."""
    rows: list[tuple[str, ...]] = []
    tuned = [summary.sft is not None for _, summary in report.complete]
    for cell, summary in report.complete if any(tuned) else ():
        harm, kept, sft = summary.harmfulness, summary.capability, summary.sft
        base, last = (harm.base, harm.champion) if harm is not None else (None, None)
        knew, knows = (kept.base, kept.champion) if kept is not None else (None, None)
        of = {"deployed": _safety_and_use(summary.test.base, base, knew, _probed(summary, "base"))}
        if sft is not None:
            then = sft.harmfulness.champion if sft.harmfulness is not None else None
            of["SFT"] = _safety_and_use(
                sft.after, then, sft.capability.champion if sft.capability is not None else None
            )
        name = "SFT+cycles" if sft is not None else "cycles"
        of[name] = _safety_and_use(summary.test.champion, last, knows, _probed(summary, "champion"))
        rows += [(f"{cell.model}\n{cell.regimen}", name, *figures) for name, figures in of.items()]
    return Grid(
        title="Demonstrations and alignment, each alone and both: test split; 95 % intervals",
        columns=("cell", "policy", "harm 1-5", "ASR", "ERR", "choices", "probe"),
        rows=tuple(rows),
        note="Cycles: the last champion. Harm: mean of 1 (declines) to 5 (complies), by each run's own judge, and its"
        " standard error. ERR: strict. Choices: accuracy in multiple choice. Probe: its safe prompts refused; asked of"
        " base and last champion alone.",
    )


def _safety_and_use(
    figures: TestFigures, harm: Harmfulness | None, kept: Capability | None, probed: Measured | None = None
) -> Sequence[str]:
    accuracy = kept.accuracy if kept is not None else None
    score = NOTHING
    if harm is not None and harm.mean is not None:
        score = f"{harm.mean.value:.2f}" + (f"\n({harm.se:.2f})" if harm.se is not None else "")
    return (score, *map(_with_interval, (figures.asr, figures.err_strict, accuracy, probed)))


def _probed(summary: Summary, of: str) -> Measured | None:
    """The share of the probe's safe prompts that base or champion refuses; None where a run has no probe."""
    ending = f"_safe_refused_{of}"
    return next((found for name, found in (summary.measured or {}).items() if name.endswith(ending)), None)


def wins_grid(report: StudyReport) -> Grid:
    """Shares of cycles by validator."""
    names = tuple(dict.fromkeys(name for w in report.wins for name in w.won))
    rows = tuple(
        (
            w.regimen,
            str(w.cycles),
            *(_share(w.won.get(name)) for name in names),
            _share(w.champion),
            *(_share(w.higher.get(name)) for name in names),
            _share(w.differs),
        )
        for w in report.wins
    )
    return Grid(
        title="Shares of cycles by validator",
        columns=(
            "regimen",
            "cycles",
            *(f"{name.upper()} won" for name in names),
            "stayed",
            *(f"{name.upper()} higher" for name in names),
            "truth differs",
        ),
        rows=rows,
        note="Stayed: the champion. Higher: of the challengers, the one the judge gave the higher SS, won or not. Truth"
        f" differs: {reference(report)} gives another contender inside the gate a higher SS than the chosen one, by no"
        " matter how little.",
    )


def correlations_grid(report: StudyReport) -> Grid:
    """Whether closed and open figures rank the policies alike; as CareQA's paper asks (arXiv 2502.06666)."""
    rows = tuple(
        (
            each.closed,
            each.open,
            *(f"{of.value:.2f}\np {of.p:.3f}" for of in (each.spearman, each.kendall)),
            str(each.n),
        )
        for each in report.correlations
    )
    return Grid(
        title="Closed against open figures over policies: rank correlation",
        columns=("closed", "open", "Spearman's rho", "Kendall's tau", "policies"),
        rows=rows,
        note="p: two-sided, of permutations. Of three policies it is never below .33, and policies of one study are no"
        " sample of all models.",
    )


def console_table(grid: Grid) -> Group:
    """A table with its note below; nothing in it is read as markup."""
    table = narrow_table(title=Text(grid.title))
    table.title_justify = "left"
    for column in grid.columns:
        table.add_column(Text(column), overflow="fold")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return Group(table, Text(grid.note)) if grid.note else Group(table)


def study_page(report: StudyReport, figures: dict[int, str]) -> str:
    """`study.md`: the tables, the figures (file names by number) and what failed."""
    parts = [f"# Study {markdown(report.study)}, seed {report.seed}"]
    parts.append(f"{report.cost}.")
    for grid in grids(report):
        parts += [f"## {markdown(grid.title)}", _rows(grid)] + ([markdown(grid.note)] if grid.note else [])
    parts += [f"![figure {number}]({name})" for number, name in figures.items()]
    parts += [
        f"- {markdown(cell.name)} failed: {markdown(failure.sentence)} (log: {markdown(failure.log)})"
        for cell, failure in report.failures
    ]
    return "\n\n".join(parts) + "\n"


def markdown(text: str) -> str:
    """Words of others as plain text in Markdown: no markup, no HTML, one line."""
    return _MARKUP.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _kappa(summary: Summary | None) -> str:
    known = list((summary.judge_agreement or {}).values())[:1] if summary else []
    return ", ".join(f"{agreement.kappa.value:.2f}" for agreement in known if agreement.kappa) or NOTHING


def _winner(cycle: CycleSummary, by: JudgedBy) -> CycleFigures | None:
    return figures_by(cycle).get(by, {}).get(cycle.decision)


def _two(figures: CycleFigures | None) -> str:
    if figures is None:
        return NOTHING
    return "/".join(_short(measured) for measured in (figures.ss, figures.err_strict))


def _short(measured: Measured | None) -> str:
    return NOTHING if measured is None else f"{measured.value:.2f}"


def _test(figures: TestFigures) -> Sequence[str]:
    return (*map(_with_interval, (figures.ss, figures.err_strict, figures.asr, figures.answered)), str(figures.n))


def _with_interval(measured: Measured | Interval | None) -> str:
    return NOTHING if measured is None else f"{measured.value:.3f}\n{ends_text(measured.low, measured.high)}"


def _share(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.2f}"


def _rows(grid: Grid) -> str:
    lines = [grid.columns, ("---",) * len(grid.columns)]
    text = [[markdown(cell) if cells is not lines[1] else cell for cell in cells] for cells in (*lines, *grid.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in text)
