"""An outside judge labels all measured answers once; its figures are beside the run's own, and no decision reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.contract.records import LABELS, ROLLOUT_SCHEMA, PolicyRef, PromptSet
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.judges.function import FunctionScorer
from actors.judges.judge import Judge, JudgmentTask
from pipelines.alignment.finish import report
from pipelines.alignment.measurements.outside import label_outside, outside_judge
from pipelines.alignment.run import Run
from pipelines.cluster.pools import Pools
from pipelines.cluster.progress import Reporter
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.feedback.control.second_judge import hold_second_judge
from pipelines.judges.pool import JudgeShards
from pipelines.report.judges.beside import beside_table
from pipelines.runs.finished.lineage import lineage
from pipelines.runs.finished.shape import shape_of
from pipelines.runs.materials import Materials
from pipelines.runs.open import Cost
from tests.pipelines.finished import BASE, BY_RULES, finish
from tests.quiet_reporter import QuietReporter

FUNCTION = f"{__name__}:refuses_all"
OUTSIDE = (
    "judge.truth=judge",
    f"decide.control={{judge: {{regimen: PYTHON, function: '{FUNCTION}', accept_unreliable: true}}, per_contender: 0}}",
)


def refuses_all(conversations: list[Any]) -> list[str]:
    """A judge of another mind than the rules."""
    return ["Refuse"] * len(conversations)


def recipe(*overrides: str) -> Recipe:
    return load_recipe("demo", ["cycles=1", *BY_RULES, *overrides])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of one cycle that has come to its end, before its report is made with an outside judge."""
    finish(recipe(), tmp_path, {})
    folder = RunFolder(tmp_path)
    for judged in folder.judged():
        for shard in judged.glob("*.parquet"):
            if "judged_by" in judged.parts:
                table = pq.read_table(shard)
                write_table(table.select(ROLLOUT_SCHEMA.names), judged.parent.parent / "rollouts" / shard.name)
                sure = {
                    f"p_{name.lower()}": pc.equal(table["label"], pa.scalar(name)).cast(pa.float32()) for name in LABELS
                }
                for name, column in sure.items():
                    table = table.set_column(table.column_names.index(name), name, column)
                write_table(table, shard)
    return Run(recipe(*OUTSIDE), folder, Materials(policy=BASE, judge=None), Pools((), ()), None, QuietReporter())


class Asked:
    """Brings the function up in this process, and counts the shards that it is given."""

    def __init__(self) -> None:
        self.shards = 0

    @contextmanager
    def __call__(self, recipe: Recipe, weights: PolicyRef | None, reporter: Reporter) -> Iterator[JudgeShards]:
        judge = Judge(FunctionScorer(FUNCTION), recipe.judge.min_coverage)

        def label(tasks: Sequence[JudgmentTask]) -> None:
            self.shards += len(tasks)
            for task in tasks:
                judge.label(None, task)

        yield label


def test_its_figures_are_beside_the_runs_own_and_it_is_asked_once(run: Run, tmp_path: Path) -> None:
    champion, asked = run.folder.challenger(1, "kto"), Asked()
    label_outside(run, champion, asked)
    # Validation answers of three policies; test and probe answers of base and champion.
    final: tuple[PromptSet, ...] = ("test", "probe")
    shards = 3 + 2 * sum(run.folder.prompts(split).is_dir() for split in final)
    assert asked.shards == shards
    label_outside(run, champion, asked)
    assert asked.shards == shards

    summary = report(run, champion, Cost(wall_s=1.0, peak_memory_gib=1.0), ())
    assert summary.test_judged_by == "truth" and summary.reference is not None
    assert "refuses_all" in summary.reference and "not calibrated" in summary.reference
    assert summary.test.champion.err_strict is not None and summary.test.champion.err_strict.value == 1
    own = summary.test_by_judge
    assert own is not None and own.champion.err_strict is not None and own.champion.err_strict.value == 0
    truth = summary.cycles[0].truth
    assert truth is not None and set(truth) == {"champion", "kto", "dpo"}
    assert summary.judge_agreement is not None
    assert any("refuses_all" in name for name in summary.judge_agreement)

    console = Console(width=120, record=True)
    console.print(beside_table(pq.read_table(run.folder.metrics), summary.reference))
    printed = console.export_text()
    assert all(word in printed for word in ("refuses_all", "level 0", "method direct", "champion"))
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    nodes = {node.path: node for node in lineage(shape_of(run.folder, run.recipe, names))}
    labels = next(path for path in nodes if "/outside/" in path)
    assert nodes[labels].kind == "judgments" and "judge.truth" in nodes[labels].settings
    metrics = next(node for node in nodes.values() if node.kind == "metrics")
    decisions = [node for node in nodes.values() if node.kind == "decision"]
    assert labels in metrics.made_from and all(labels not in node.made_from for node in decisions)


def test_a_run_without_one_asks_nothing(run: Run) -> None:
    asked = Asked()
    plain = Run(recipe(), run.folder, run.materials, run.pools, None, run.reporter)
    label_outside(plain, run.folder.challenger(1, "kto"), asked)
    assert asked.shards == 0 and outside_judge(plain.recipe) is None
    assert report(plain, run.folder.challenger(1, "kto"), Cost(wall_s=1.0, peak_memory_gib=1.0), ()).reference is None
    assert beside_table(pq.read_table(run.folder.metrics)) is None


def test_it_needs_a_judge_and_another_than_the_runs_own() -> None:
    with pytest.raises(SalusError, match=r"judge.truth 'judge' needs decide.control.judge"):
        recipe("judge.truth=judge")
    same = recipe(OUTSIDE[0], "decide.control={judge: {regimen: RULES, accept_unreliable: true}, per_contender: 0}")
    with pytest.raises(SalusError, match="so that both err alike"):
        hold_second_judge(same)
