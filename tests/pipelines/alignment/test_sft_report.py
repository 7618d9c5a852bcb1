"""The end of a run that was fine-tuned first and merged in its cycle: its figures, its files, and what they say."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.contract.records import PROMPT_SCHEMA, SPLITS, TrainReport
from actors.contract.run_folder import MERGE, RunFolder
from actors.contract.run_names import RunNames
from actors.files.shards import write_table, write_text
from pipelines.alignment.finish import fine_tuning_report, report
from pipelines.alignment.run import Run, fixed_judge
from pipelines.cluster.pools import Pools
from pipelines.config.load import load_recipe, save_recipe
from pipelines.decision.of_run import DecisionOfRun
from pipelines.measures.harmfulness import Harmfulness, MeanScore
from pipelines.registry.names import read_run_version
from pipelines.registry.run_reader import RunReader
from pipelines.report.summary_tables import fine_tuned_tables, scores_by_source, test_table
from pipelines.runs.finished.audit import audit
from pipelines.runs.finished.lineage import lineage
from pipelines.runs.finished.shape import shape_of
from pipelines.runs.materials import Materials
from pipelines.runs.open import Cost, RunRecord
from pipelines.runs.summary import FineTuned, HarmfulnessTest, Summary, find_summary
from tests.pipelines.finished import BASE, BY_RULES, LOOSE, answers
from tests.quiet_reporter import QuietReporter

# How many of the first answers are right, by policy.
RIGHT = {"c0-base": 0, "c0-sft": 8, "c1-kto": 10, "c1-dpo": 12, "c1-merge": 24}
FINAL = ("c0-base", "c0-sft", "c1-merge")


def trained(folder: RunFolder, cycle: int, name: str, algorithm: str) -> None:
    output = folder.training(cycle, name)
    made = TrainReport(
        rows=9, steps=3, train_s=1, wall_s=1, workers=1, trainable_parameters=1, adapter_change=1,
        metrics={"loss_first": 2.0, "loss_last": 1.0}, algorithm=algorithm, cycle=cycle,
        challenger=folder.challenger(cycle, name), adapter=str(output / "adapter"),
    )  # fmt: skip
    write_text(RunNames(folder).written(made).model_dump_json(), output / "report.json")
    for part in ("adapter/adapter_model.safetensors", "merged/model.safetensors", "assignment.json"):
        write_text(f"{cycle} {name} {part}", output / part)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One cycle from `c0-sft`, which the merged challenger won."""
    root = tmp_path_factory.mktemp("runs") / "demo"
    recipe = load_recipe("demo", [*BY_RULES, LOOSE, "cycles=1", "publish.enabled=false", "sft={}", "merge={}"])
    folder, materials = RunFolder(root), Materials(policy=BASE, judge=None)
    save_recipe(recipe, folder.recipe)
    record = RunRecord(packages={}, python="3.11", machine="x86_64", git_revision=None)
    write_text(record.model_dump_json(), folder.run_record)
    judge = fixed_judge(recipe, materials)
    assert judge is not None
    tables = {name: answers(name, right) for name, right in RIGHT.items()}
    for split in SPLITS:
        write_table(tables["c0-base"].select(PROMPT_SCHEMA.names), folder.prompts(split) / "part-00000.parquet")
    write_text("{}", folder.rows(0, "demonstrations") / "report.json")
    trained(folder, 0, "sft", "sft")
    for name, algorithm in (("kto", "kto"), ("dpo", "dpo"), (MERGE, MERGE)):
        trained(folder, 1, name, algorithm)
    write_table(tables["c0-sft"], folder.judgments(1) / "part-00000.parquet")
    for name, table in tables.items():
        write_table(table, folder.evaluation_judgments("validation", name, judge) / "part-00000.parquet")
    for name in FINAL:
        write_table(tables[name], folder.evaluation_judgments("test", name, judge) / "part-00000.parquet")
        write_table(tables[name], folder.evaluation_judgments("probe", name, judge) / "part-00000.parquet")
    rule = DecisionOfRun(recipe.scores, recipe.decide, 0, None, str(root), BASE.version, judge, probe=None)
    challengers = {name: tables[f"c1-{name}"] for name in ("kto", "dpo", MERGE)}
    write_text(rule(1, tables["c0-sft"], challengers, {}).model_dump_json(), folder.decision(1))
    return Run(recipe, folder, materials, Pools((), ()), None, QuietReporter())


@pytest.fixture(scope="module")
def summary(run: Run) -> Summary:
    return report(run, run.folder.challenger(1, MERGE), Cost(wall_s=1.0, peak_memory_gib=1.0), ())


def test_the_summary_has_the_test_split_before_and_after_fine_tuning(run: Run, summary: Summary) -> None:
    assert summary.sft is not None and summary.test.sft is not None
    made = summary.sft
    assert (made.policy, made.demonstrations, made.steps, made.losses) == ("c0-sft", 9, 3, (2.0, 1.0))
    assert (made.before, made.after) == (summary.test.base, summary.test.sft)
    shares = [figures.asr for figures in (summary.test.base, summary.test.sft, summary.test.champion)]
    assert [share.value for share in shares if share is not None] == [1.0, pytest.approx(2 / 3), 0.0]
    assert FineTuned.model_validate_json(run.folder.fine_tuning_figures.read_text()) == made
    assert find_summary(run.folder.summary) == summary
    # The same without any cycle: as `salus sft` leaves it.
    assert fine_tuning_report(run, run.folder.fine_tuned()) == made


def test_the_cycle_began_with_it_and_the_merged_challenger_won(run: Run, summary: Summary) -> None:
    (cycle,) = summary.cycles
    assert (cycle.incumbent, cycle.decision, cycle.champion) == ("c0-sft", MERGE, "c1-merge")
    columns = ["cycle", "algorithm", "policy_version", "split", "winner"]
    rows = {tuple(row.values()) for row in pq.read_table(run.folder.metrics, columns=columns).to_pylist()}
    validated = {row[:3] for row in rows if row[3] == "validation"}
    assert validated == {
        (0, "base", "c0-base"), (1, "champion", "c0-sft"), (1, "kto", "c1-kto"), (1, "dpo", "c1-dpo"),
        (1, "merge", "c1-merge"),
    }  # fmt: skip
    assert (1, "sft", "c0-sft", "test", False) in rows
    assert [each.differences for each in audit(run.folder)] == [[]]


def test_every_file_is_in_the_lineage(run: Run, summary: Summary) -> None:
    folder = run.folder
    names = [path.relative_to(folder.root).as_posix() for path in folder.root.rglob("*") if path.is_file()]
    nodes = {node.path: node for node in lineage(shape_of(folder, run.recipe, names))}
    assert not [node.path for node in nodes.values() if node.kind == "other"]
    assert nodes["cycles/00/sft/adapter"].made_from == ("cycles/00/rows/sft", "model:policy")
    assert nodes["cycles/00/sft/merged"].made_from == ("cycles/00/sft/adapter", "model:policy")
    assert {"seed", "sft.lora", "sft.learning_rate"} <= set(nodes["cycles/00/sft/adapter"].settings)
    assert "sft.max_failures" not in nodes["cycles/00/sft/adapter"].settings
    merged = nodes["cycles/01/merge/adapter"]
    assert merged.made_from[0] == "cycles/00/sft/merged" and "cycles/01/dpo/adapter" in merged.made_from
    assert merged.settings == ("seed", "merge")
    assert nodes["cycles/00/figures.json"].kind == "fine-tuning figures"


def test_its_ancestors_lead_to_the_deployed_policy(run: Run, summary: Summary) -> None:
    reader = RunReader(run.folder.root)
    version = read_run_version("c1-merge", "here")
    found = list(reader.ancestors(version))
    assert [each.text for each in found] == ["c0-sft", "c0-base"]
    assert reader.algorithm(MERGE) == MERGE
    assert reader.weights(found[0]) == Path(run.folder.fine_tuned().path)


def test_the_tables_show_both_policies_and_standard_errors(summary: Summary) -> None:
    assert summary.sft is not None
    by = {"medsafetybench/category_1": MeanScore(mean=4.25, se=0.125, n=16)}
    before = Harmfulness(mean=None, counts=(0, 0, 0, 0, 0), n=0, rows=0, coverage=0.0, by_source=by)
    after = before.model_copy(update={"by_source": {"medsafetybench/category_1": MeanScore(mean=1.5, se=None, n=1)}})
    scores = HarmfulnessTest(base=before, champion=after)
    console = Console(width=160, record=True, file=None)
    with console.capture() as shown:
        console.print(fine_tuned_tables(summary.sft.model_copy(update={"harmfulness": scores})))
        console.print(scores_by_source(scores), test_table(summary.test))
    text = shown.get()
    assert "Fine-tuned on 9 demonstrations" in text and "deployed" in text and "c0-sft" in text
    assert "medsafetybench/category_1" in text and "4.25 (0.12)" in text and "1.50" in text
