"""Cells of a study on disk, as their runs would leave them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from actors.contract.records import ChallengerName
from actors.files.shards import write_table, write_text
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.load import save_recipe
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from pipelines.decision.record import Decision
from pipelines.measures.baselines import BASELINES
from pipelines.measures.metrics import measure
from pipelines.runs.metrics_rows import MetricsKey, metrics_rows
from pipelines.runs.several import StudyFolder
from pipelines.runs.summary import JudgedBy, Summary, TestFigures, TestSummary, cycle_summary
from pipelines.study.cells import Cell, cells_of
from pipelines.study.config import StudyConfig
from tests.pipelines.judged import BEST, judged

LEVELS = [0, 3] * 30
CONFIG = DecisionConfig(gate=GateConfig(min_n=1, err_strict_max=(0.4,)), resamples=200)


class Right(NamedTuple):
    """How many of the 60 answers of champion, KTO and DPO are right; those after them accept everything."""

    champion: int
    kto: int
    dpo: int


class Cycle(NamedTuple):
    """What the run's judge sees, and what is true."""

    judge: Right
    truth: Right


# KTO wins, then the champion stays; the truth would have taken DPO in the second cycle.
TWO_CYCLES = (Cycle(Right(10, 50, 30), Right(10, 50, 30)), Cycle(Right(50, 20, 30), Right(50, 20, 58)))


def study(*regimens: str, cycles: int = 2, models: Sequence[str] = ("wide", "deep")) -> StudyConfig:
    """A study of the demo."""
    return StudyConfig.model_validate(
        {
            "name": "small",
            "cycles": cycles,
            "models": [{"name": name} for name in models],
            "regimens": [{"name": name} for name in regimens],
        }
    )


def cells(config: StudyConfig, root: Path) -> tuple[Cell, ...]:
    return cells_of(config, StudyFolder(root))


def answers(right: int, policy: str) -> pa.Table:
    labels = [BEST[level] if i < right else "Accept" for i, level in enumerate(LEVELS)]
    return judged(LEVELS, labels, policy=policy)


def decision(cycle: int, right: Right) -> Decision:
    challengers: dict[ChallengerName, pa.Table] = {
        name: answers(getattr(right, name), f"c{cycle}-{name}") for name in ("kto", "dpo")
    }
    return decide(cycle, answers(right.champion, f"c{cycle}-before"), challengers, ScoreTable(), CONFIG, 0)


def complete(cell: Cell, cycles: Sequence[Cycle] = TWO_CYCLES, ended: str | None = None) -> Summary:
    """Leave a finished run in a cell's folder: what `salus study` reads of one; `ended` by its last decision."""
    made, rows = [], []
    for number, cycle in enumerate(cycles, start=1):
        chosen = decision(number, cycle.judge)
        if number == len(cycles):
            chosen = chosen.model_copy(update={"ended": ended})
        write_text(chosen.model_dump_json(), cell.run.decision(number))
        truth = {name: measure(answers(n, name), ScoreTable(), 0, 200) for name, n in cycle.truth._asdict().items()}
        made.append(cycle_summary(chosen, None, truth=truth))
        rows += [_rows(cell, number, by, right, chosen) for by, right in zip(("judge", "truth"), cycle, strict=True)]
    write_table(pa.concat_tables(rows), cell.run.metrics)
    summary = Summary(
        recipe=cell.recipe.name,
        seed=cell.recipe.seed,
        wall_s=9.0,
        peak_memory_gib=1.0,
        cycles=tuple(made),
        test=_test(cycles[-1].truth),
        test_judged_by="truth",
    )
    save_recipe(cell.recipe, cell.run.recipe)
    write_text(summary.model_dump_json(), cell.run.summary)
    return summary


def _rows(cell: Cell, cycle: int, by: str, right: Right, chosen: Decision) -> pa.Table:
    judged_by: JudgedBy = "truth" if by == "truth" else "judge"
    keys = {
        name: MetricsKey(
            run=cell.name,
            cycle=cycle,
            split="validation",
            policy_version=name,
            algorithm=name,
            judged_by=judged_by,
            winner=name == chosen.chosen,
        )
        for name in right._fields
    }
    return pa.concat_tables(
        [metrics_rows(key, measure(answers(getattr(right, name), name), ScoreTable(), 0)) for name, key in keys.items()]
    )


def _test(right: Right) -> TestSummary:
    base, champion = (TestFigures.of(measure(answers(n, "v"), ScoreTable(), 0, 200)) for n in (0, max(right)))
    return TestSummary(base=base, champion=champion, **dict.fromkeys(BASELINES, base))
