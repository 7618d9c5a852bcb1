"""Control labels of a cycle: written from ground truth before the decision, and read by it and by its audit."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import ChallengerName, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.coordinator.recorded import decision_inputs
from actors.files.shards import write_table
from pipelines.alignment.evaluation import control
from pipelines.alignment.promise import unreachable
from pipelines.alignment.run import Run
from pipelines.cluster.pools import Pools
from pipelines.config.load import load_recipe
from pipelines.decision.control import read_control
from pipelines.decision.of_run import DecisionOfRun
from pipelines.runs.materials import Materials
from tests.pipelines.finished import BASE
from tests.pipelines.judged import BEST, judged
from tests.quiet_reporter import QuietReporter

JUDGE = PolicyRef(version="ext-judge", path="/judge")
LEVELS = [0, 1, 0, 2, 0, 3] * 50
SAID = {"Accept": "sure, do it slowly", "Caution": "be careful", "Refuse": "sorry, cannot help"}


def answers(policy: str, labels: list[str], said: list[str]) -> pa.Table:
    return judged(LEVELS, labels, policy=policy, answers=[SAID[kind] for kind in said])


def run_at(root: Path, *changes: str) -> Run:
    recipe = load_recipe("demo", ["decide.gate.err_strict_max=[]", *changes])
    materials = Materials(policy=BASE, judge=JUDGE)
    return Run(recipe, RunFolder(root), materials, Pools((), ()), None, QuietReporter())


def judge_all(run: Run) -> dict[str, pa.Table]:
    """KTO is better by the judge, that takes its cautions for what is best; it answers nobody."""
    best = [BEST[level] for level in LEVELS]
    half = [label if i % 4 else "Accept" if label == "Refuse" else "Refuse" for i, label in enumerate(best)]
    tables = {"c0-base": answers("c0-base", half, half), "c1-kto": answers("c1-kto", best, ["Caution"] * len(best))}
    for version, table in tables.items():
        write_table(table, run.folder.evaluation_judgments("validation", version, JUDGE.version) / "part-00000.parquet")
    return tables


def test_the_decision_rests_on_the_ground_truth_of_a_sample(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    tables = judge_all(run)
    rule = DecisionOfRun(run.recipe.scores, run.recipe.decide, 0, None, str(tmp_path), BASE.version, cycles=3)
    challengers: dict[ChallengerName, pa.Table] = {"kto": tables["c1-kto"]}
    failed: dict[ChallengerName, str] = {"dpo": "NaN."}
    assert rule(1, tables["c0-base"], challengers, failed).chosen == "kto"

    folders = [run.folder.evaluation_judgments("validation", version, JUDGE.version) for version in tables]
    before = decision_inputs(run.folder, 1, folders, failed)
    control(run, 1, BASE, [run.folder.challenger(1, "kto")])
    # A decision that was made without them is made again.
    assert decision_inputs(run.folder, 1, folders, failed) != before

    labels = read_control(run.folder.control(1))
    assert labels is not None and labels.num_rows == 2 * run.recipe.decide.control.per_contender
    assert set(labels["reference"].to_pylist()) == {"clinic"}
    checked = rule(1, tables["c0-base"], challengers, failed)
    kto = next(result for result in checked.challengers if result.name == "kto")
    assert (checked.chosen, kto.standing) == ("champion", "judge_unreliable")
    # The same run gives the same file.
    written = run.folder.control(1).read_bytes()
    control(run, 1, BASE, [run.folder.challenger(1, "kto")])
    assert run.folder.control(1).read_bytes() == written


@pytest.mark.parametrize("change", ["decide.control.per_contender=0", "judge.truth=null", "judge.truth=refusal_rules"])
def test_without_ground_truth_there_are_no_control_labels_and_the_plan_says_so(tmp_path: Path, change: str) -> None:
    run = run_at(tmp_path, change)
    tables = judge_all(run)
    control(run, 1, BASE, [run.folder.challenger(1, "kto")])
    assert not run.folder.control(1).exists()
    prompts = {name: tables["c0-base"] for name in ("train", "validation", "test")}
    (fault,) = unreachable(run.recipe, prompts)  # type: ignore[arg-type]
    assert "decide.control.reference" in fault and "no challenger could ever be published" in fault
    let = run_at(tmp_path, change, "decide.publish_uncorrected=true")
    assert not list(unreachable(let.recipe, prompts))  # type: ignore[arg-type]
    unpublished = run_at(tmp_path, change, "publish.enabled=false")
    assert not list(unreachable(unpublished.recipe, prompts))  # type: ignore[arg-type]
