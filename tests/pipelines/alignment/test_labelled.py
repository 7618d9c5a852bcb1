"""Answers without a label: they stop the run, or cost a challenger its chance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import PROMPT_SCHEMA, UNFINISHED_THOUGHT, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder, write_table
from pipelines.alignment.evaluation import Evaluation, evaluate
from pipelines.alignment.run import Run, decision_rule
from pipelines.alignment.streamed import Unlabelled, check_labelled
from pipelines.cluster.pools import Pools
from pipelines.config.load import load_recipe
from pipelines.decision.record import Decision
from pipelines.runs.materials import Materials
from tests.pipelines.finished import BASE, BY_RULES, LOOSE, PROMPTS, answers
from tests.quiet_reporter import SaidReporter

KTO, DPO = (PolicyRef(version=f"c1-{name}", path=f"cycles/01/{name}/merged") for name in ("kto", "dpo"))


def without_labels(table: pa.Table, count: int, reason: str = UNFINISHED_THOUGHT) -> pa.Table:
    """The first `count` answers lack a label, for this reason."""
    kept = table.num_rows - count
    for column, values in (
        ("label", [None] * count + table["label"].to_pylist()[count:]),
        ("finish_reason", [reason] * count + ["stop"] * kept),
    ):
        at = table.schema.get_field_index(column)
        table = table.set_column(at, table.schema.field(at), pa.array(values, pa.string()))
    return table


def a_run(root: Path, unlabelled: dict[str, int], *overrides: str, reason: str = UNFINISHED_THOUGHT) -> Run:
    """Its cycle 1 is trained and judged; so many answers of each policy have no label. KTO is better else."""
    recipe = load_recipe("demo", [*BY_RULES, LOOSE, "decide.resamples=200", *overrides])
    run = Run(recipe, RunFolder(root), Materials(policy=BASE, judge=None), Pools((), ()), None, SaidReporter())
    write_table(
        answers("c0-base", 0).select(PROMPT_SCHEMA.names), run.folder.prompts("validation") / "part-00000.parquet"
    )
    for name, right in (("c0-base", 0), ("c1-kto", PROMPTS), ("c1-dpo", 0)):
        table = without_labels(answers(name, right), unlabelled.get(name, 0), reason)
        for folder in (
            run.folder.evaluation_judgments("validation", name, run.judge_name(BASE)),
            run.folder.evaluation_rollouts("validation", name),
        ):
            write_table(table, folder / "part-00000.parquet")
    for name in ("kto", "dpo"):
        report = run.folder.training(1, name) / "report.json"
        report.parent.mkdir(parents=True)
        report.write_text(json.dumps({}))
    return run


def lines(run: Run) -> list[str]:
    assert isinstance(run.reporter, SaidReporter)
    return [line for line in run.reporter.said if "no usable label" in line]


def decided(run: Run) -> Decision:
    tables = {
        name: read_folder(run.folder.evaluation_judgments("validation", name, run.judge_name(BASE)))
        for name in ("c0-base", "c1-kto", "c1-dpo")
    }
    challengers = {"kto": tables["c1-kto"], "dpo": tables["c1-dpo"]}
    return decision_rule(run.recipe, run.folder, run.materials)(1, tables["c0-base"], challengers, {})


def test_a_challenger_that_never_answers_loses_and_the_others_go_on(tmp_path: Path) -> None:
    run = a_run(tmp_path, {"c1-dpo": PROMPTS})
    evaluate(run, 1, BASE)
    assert lines(run) == [
        "cycle 1 validation: 24 of 24 answers of c1-dpo got no usable label (24 are thoughts that never ended); with"
        " less than decide.gate.min_coverage it cannot win"
    ]
    decision = decided(run)
    assert decision.chosen == "kto"
    dpo = next(each for each in decision.challengers if each.name == "dpo")
    assert dpo.standing == "outside_gate"
    assert "label coverage 0 is below 0.95." in dpo.sentence


def test_what_a_broken_challenger_would_win_with_its_labelled_answers_it_does_not(tmp_path: Path) -> None:
    run = a_run(tmp_path, {"c1-kto": PROMPTS // 3})
    assert Evaluation(run, 1, BASE).check([KTO, DPO]) == ("c1-kto",)
    assert decided(run).chosen == "champion"


@pytest.mark.parametrize(
    ("unlabelled", "overrides"),
    [
        ({"c0-base": PROMPTS // 2}, ()),
        # No gate would keep it from winning by the answers that have a label.
        ({"c1-kto": PROMPTS // 2}, ("decide.gate.min_coverage=0.5",)),
    ],
)
def test_others_stop_the_run_and_the_same_command_does_not_go_on(
    unlabelled: dict[str, int], overrides: tuple[str, ...], tmp_path: Path
) -> None:
    run = a_run(tmp_path, unlabelled, *overrides)
    (policy,) = unlabelled
    told = f"12 of 24 answers of {policy} got no usable label .12 are thoughts that never ended., more than"
    # Whatever this process judged itself: all is on disk.
    for _ in range(2):
        with pytest.raises(SalusError, match=told) as stopped:
            evaluate(run, 1, BASE)
        assert "Raise generate.sampling.max_tokens" in stopped.value.sentence


def test_a_judge_without_a_word_is_the_judges_fault(tmp_path: Path) -> None:
    run = a_run(tmp_path, {"c0-base": PROMPTS}, reason="stop")
    tasks = run.evaluation_tasks("validation", BASE, BASE)
    with pytest.raises(SalusError, match="Take another judge or prompt") as stopped:
        check_labelled(run, "cycle 1", tasks)
    judgments = run.folder.evaluation_judgments("validation", "c0-base", run.judge_name(BASE))
    assert f"delete {judgments}: the same command has these answers judged again" in stopped.value.sentence
    shutil.rmtree(judgments)
    assert [task.done for task in tasks] == [False] and check_labelled(run, "cycle 1", tasks) == ()


def test_no_policy_hides_behind_the_labels_of_another(tmp_path: Path) -> None:
    run = a_run(tmp_path, {"c0-base": PROMPTS // 4})
    tasks = [t for p in (BASE, KTO, DPO) for t in run.evaluation_tasks("validation", p, BASE)]
    with pytest.raises(SalusError, match="6 of 24 answers of c0-base"):
        check_labelled(run, "final test", tasks)


def test_what_is_not_judged_counts_for_nothing(tmp_path: Path) -> None:
    run = a_run(tmp_path, {})
    other = PolicyRef(version="c2-kto", path="/c2")
    assert check_labelled(run, "cycle 2", run.evaluation_tasks("validation", other, BASE)) == ()


def test_a_coverage_of_exactly_the_gates_minimum_is_inside_the_gate() -> None:
    # 1 - 9 / 10 is less than .1 in floating point, and the gate takes the mean of the labelled ones.
    assert 1.0 - 9 / 10 < 0.1
    assert Unlabelled(Path("x"), answers=10, unlabelled=9).coverage == 0.1
