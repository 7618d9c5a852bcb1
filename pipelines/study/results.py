"""What the cells' run folders hold, as one record; `study.json`. Reads files alone, so it can be made at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.judges.regimens import Regimen
from pipelines.decision.record import read_decision
from pipelines.runs.summary import (
    GROUND_TRUTH,
    CycleFigures,
    CycleSummary,
    JudgedBy,
    Measured,
    Summary,
    complete_summary,
)
from pipelines.study.cells import Cell
from pipelines.study.config import StudyConfig
from pipelines.study.correlation import RankCorrelation, policies_of_harness, policies_of_runs, rank_correlations
from pipelines.study.fleet.member import Failure
from pipelines.study.fleet.together import SharedCost
from pipelines.study.verdict import StudyVerdict, Wins, verdict, wins

State = Literal["complete", "failed", "unfinished"]


class CellResult(Record):
    """One model under one regimen."""

    model: str
    regimen: Regimen
    run: str
    state: State
    failure: Failure | None
    # Both of complete cells alone.
    summary: Summary | None
    verdicts: tuple[StudyVerdict, ...]

    @property
    def name(self) -> str:
        return f"{self.model}-{self.regimen}"


class StudyReport(Record):
    """`study.json`: the whole study."""

    study: str
    seed: int
    cycles: int
    cost: SharedCost
    cells: tuple[CellResult, ...]
    wins: tuple[Wins, ...]
    # By model: the regimen whose last champion did best on the validation split, by the test's judge.
    best: dict[str, Regimen]
    # Of closed and open figures over the study's policies; empty where fewer than three have both.
    correlations: tuple[RankCorrelation, ...] = ()

    @property
    def complete(self) -> tuple[tuple[CellResult, Summary], ...]:
        """The cells there is something to report of."""
        return tuple((cell, cell.summary) for cell in self.cells if cell.summary is not None)

    @property
    def failures(self) -> tuple[tuple[CellResult, Failure], ...]:
        return tuple((cell, cell.failure) for cell in self.cells if cell.failure is not None)


def study_report(
    study: StudyConfig,
    cells: Sequence[Cell],
    failed: Mapping[str, Failure],
    cost: SharedCost,
    harness: Path | None = None,
) -> StudyReport:
    """Read all cells.

    Args:
        failed: those whose process just ended with an error, by name.
        harness: where figures of harness tasks are, a folder for each policy; None: nowhere.

    Raises:
        SalusError: figures there are damaged.
    """
    results = [read_cell(cell, failed.get(cell.name)) for cell in cells]
    of_regimens = [
        wins(regimen.name, [v for result in results if result.regimen == regimen.name for v in result.verdicts])
        for regimen in study.regimens
    ]
    return StudyReport(
        study=study.name,
        seed=study.seed,
        cycles=study.cycles,
        cost=cost,
        cells=tuple(results),
        wins=tuple(shares for shares in of_regimens if shares is not None),
        best=_best(results),
        correlations=_correlations(study, results, harness),
    )


def _correlations(
    study: StudyConfig, results: Sequence[CellResult], harness: Path | None
) -> tuple[RankCorrelation, ...]:
    """Over the policies of the runs, and over those whose harness tasks were measured: their figures do not mix."""
    runs = policies_of_runs([(cell.model, cell.name, cell.summary) for cell in results if cell.summary is not None])
    measured = policies_of_harness(harness) if harness is not None else ()
    return (*rank_correlations(runs, study.seed), *rank_correlations(measured, study.seed))


def read_cell(cell: Cell, failure: Failure | None) -> CellResult:
    """What a cell's run folder holds."""
    summary = complete_summary(cell.run.summary, cell.recipe.cycles)
    state: State = "complete" if summary is not None else "failed" if failure is not None else "unfinished"
    return CellResult(
        model=cell.model,
        regimen=cell.regimen,
        run=str(cell.run.root),
        state=state,
        failure=failure if summary is None else None,
        summary=summary,
        verdicts=_verdicts(cell.run, summary) if summary is not None else (),
    )


def last_validation_ss(summary: Summary) -> Measured | None:
    """The last champion's SS on the validation split, by the test's judge; `_best` chooses by it."""
    last = summary.cycles[-1]
    figures = figures_by(last).get(summary.test_judged_by or "judge", {}).get(last.decision)
    return figures.ss if figures is not None else None


def figures_by(cycle: CycleSummary) -> dict[JudgedBy, Mapping[str, CycleFigures | None]]:
    """A cycle's figures of champion (the incumbent) and challengers, by the judge and, where there is one, by truth."""
    judge = {"champion": cycle.incumbent_figures, **cycle.challengers}
    return {"judge": judge, "truth": cycle.truth} if cycle.truth else {"judge": judge}


def judged_by(report: StudyReport) -> JudgedBy:
    """Who judged the figures that models and regimens are compared by."""
    return "truth" if all(summary.test_judged_by == "truth" for _, summary in report.complete) else "judge"


def reference(report: StudyReport) -> str:
    """Who gave the labels called truth, over all cells."""
    names = {summary.reference or GROUND_TRUTH for _, summary in report.complete if summary.test_judged_by == "truth"}
    return names.pop() if len(names) == 1 else GROUND_TRUTH if not names else "each run's own reference"


def _verdicts(run: RunFolder, summary: Summary) -> tuple[StudyVerdict, ...]:
    return tuple(
        verdict(
            read_decision(run.decision(cycle.cycle)),
            cycle.truth,
        )
        for cycle in summary.cycles
    )


def _best(results: Sequence[CellResult]) -> dict[str, Regimen]:
    """Chosen by validation figures: choosing by the test's own would flatter it."""
    best: dict[str, tuple[float, Regimen]] = {}
    for result in results:
        ss = last_validation_ss(result.summary) if result.summary is not None else None
        if ss is not None and (result.model not in best or ss.value > best[result.model][0]):
            best[result.model] = (ss.value, result.regimen)
    return {model: regimen for model, (_, regimen) in best.items()}
