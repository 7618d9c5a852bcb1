"""A second judge as the reference: another than the run's own, named in the record with whether it was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.contract.records import ROLLOUT_SCHEMA, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import strings
from actors.judges.judge import Judge, JudgmentTask
from actors.judges.rules import RULES_JUDGE, RuleScorer, refusal_label
from actors.remote import RecipeJudge
from pipelines.cluster.demand import demand
from pipelines.cluster.plan import make_plan
from pipelines.cluster.progress import Reporter
from pipelines.cluster.session import embedded_ray
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.decision.control import read_control
from pipelines.feedback.control.labels import label_control
from pipelines.feedback.control.second_judge import OpenJudge, hold_second_judge, second_labels, told_second_judge
from pipelines.judges.pool import JudgeShards, judging
from tests.chat_server import KEY, Answer, completion, serving
from tests.pipelines.feedback.control.contenders import contenders, decision, recipe
from tests.quiet_reporter import QuietReporter

RULES = "decide.control={judge: {regimen: RULES, accept_unreliable: true}, per_contender: 40}"


def by_rules(tmp_path: Path, *changes: str) -> Recipe:
    return recipe(tmp_path, RULES, *changes)


def test_an_unmeasured_second_judge_is_refused_or_named_as_such(tmp_path: Path) -> None:
    unmeasured = recipe(tmp_path, "decide.control={judge: {regimen: RULES}}")
    with pytest.raises(SalusError, match=r"decide.control.judge is not to be trusted: .*not held against human labels"):
        hold_second_judge(unmeasured)
    accepted = by_rules(tmp_path)
    trust = hold_second_judge(accepted)
    assert trust is not None and not trust.trusted
    assert told_second_judge(accepted) == f"judge {RULES_JUDGE}, not calibrated"
    assert hold_second_judge(recipe(tmp_path)) is None


@pytest.mark.parametrize(
    "own",
    [
        ["judge.regimen=RULES"],
        # It labels what its model finds safe by the same rules.
        ["judge={regimen: GUARD, prompt: guard-v1, path: /m}"],
        ["judge={regimen: LMA, path: /m, ensemble: {also: [RULES]}}"],
    ],
)
def test_the_runs_own_judge_is_no_second_one(tmp_path: Path, own: list[str]) -> None:
    with pytest.raises(SalusError, match=r"judges with what the run's own judge .* so that both err alike"):
        hold_second_judge(by_rules(tmp_path, *own))


def test_the_same_server_and_model_are_one_judge_and_another_model_is_not(tmp_path: Path) -> None:
    def servers(own: str, second: str) -> Recipe:
        judge = f"judge={{regimen: REMOTE, remote: {{base_url: 'http://127.0.0.1:1/v1', model: {own}}}}}"
        control = (
            "decide.control={judge: {regimen: REMOTE, accept_unreliable: true, remote: {base_url:"
            f" 'http://127.0.0.1:1/v1', model: {second}}}}}}}"
        )
        return recipe(tmp_path, judge, control)

    with pytest.raises(SalusError, match="so that both err alike"):
        hold_second_judge(servers("gpt", "gpt"))
    assert hold_second_judge(servers("gpt", "other")) is not None


def test_the_plan_counts_it(tmp_path: Path) -> None:
    rows = {row.actor: row for row in demand(by_rules(tmp_path))}
    assert rows["control judge"].count == 1 and rows["control judge"].memory_gib > 0
    assert make_plan(by_rules(tmp_path)).cpus == make_plan(recipe(tmp_path)).cpus + 1
    assert "control judge" not in {row.actor for row in demand(recipe(tmp_path))}


def test_labels_on_disk_are_not_made_again_and_those_of_other_answers_are_not_taken(tmp_path: Path) -> None:
    """Without Ray: whatever asked a judge would fail here."""
    by, tables = by_rules(tmp_path), contenders()
    rows = tables["kto"].slice(0, 12)
    judge = Judge(RuleScorer(RULES_JUDGE, refusal_label), 0.5)
    output = tmp_path / "judgments" / "part-00000.parquet"
    judge.label(rows.select(ROLLOUT_SCHEMA.names), JudgmentTask(rollouts="", output=str(output)))
    labels = second_labels(by, rows, tmp_path, QuietReporter())
    assert labels == [refusal_label(answer) for answer in strings(rows, "answer")]
    assert not ray.is_initialized()


@contextmanager
def in_this_process(recipe: Recipe, weights: PolicyRef | None, reporter: Reporter) -> Iterator[JudgeShards]:
    """The class behind the judge actor, without Ray."""
    judge = RecipeJudge(recipe.judge, weights)

    def judge_shards(tasks: Sequence[JudgmentTask]) -> None:
        for task in tasks:
            judge.label(None, task)

    yield judge_shards


def says(body: dict[str, Any], number: int) -> Answer:
    return completion(None, "Refuse" if "sorry" in json.dumps(body["messages"]) else "Accept")


def by_server(tmp_path: Path, url: str) -> Recipe:
    remote = f"{{base_url: '{url}', model: org/other, api_key_env: CONTROL_KEY, reply: word}}"
    judge = f"{{regimen: REMOTE, accept_unreliable: true, remote: {remote}}}"
    return recipe(tmp_path, f"decide.control={{per_contender: 40, judge: {judge}}}")


def label_and_decide(by: Recipe, root: Path, opened: OpenJudge) -> None:
    folder, tables = RunFolder(root), contenders()
    label_control(by, folder, 1, tables, QuietReporter(), opened=opened)
    control = read_control(folder.control(1))
    assert control is not None and control.num_rows == 80 and control["reference_label"].null_count == 0
    (reference,) = set(strings(control, "reference"))
    assert reference.startswith("judge ") and reference.endswith(", not calibrated")
    decided = decision(by, folder)
    assert (decided.chosen, decided.publish, decided.correction) == ("kto", True, "corrected")
    check = decided.challengers[0].judge
    assert check is not None and check.accuracy == 1.0 and reference in check.sentence
    # A cycle that is taken up again asks no one.
    written = folder.control(1).read_bytes()
    label_control(by, folder, 1, tables, QuietReporter(), opened=refusing)
    assert folder.control(1).read_bytes() == written


def refusing(recipe: Recipe, weights: PolicyRef | None, reporter: Reporter) -> AbstractContextManager[JudgeShards]:
    raise AssertionError("No judge is needed.")


def test_rules_and_a_server_label_the_drawn_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTROL_KEY", KEY)
    label_and_decide(by_rules(tmp_path), tmp_path / "rules", in_this_process)
    with serving(says) as server:
        label_and_decide(by_server(tmp_path, server.url), tmp_path / "server", in_this_process)
        assert len(server.asked) == 80
        # Another judge does not take the labels of the first.
        other = by_rules(tmp_path)
        with pytest.raises(AssertionError, match="No judge is needed"):
            label_control(other, RunFolder(tmp_path / "server"), 1, contenders(), QuietReporter(), opened=refusing)


def test_a_judge_that_gives_few_labels_checks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTROL_KEY", KEY)
    with serving(lambda body, number: completion(None, "Hm")) as server:
        by, folder = by_server(tmp_path, server.url), RunFolder(tmp_path / "run")
        label_control(by, folder, 1, contenders(), QuietReporter(), opened=in_this_process)
    decided = decision(by, folder)
    assert (decided.chosen, decided.reason) == ("champion", "judge_unchecked")


@pytest.mark.ray
def test_the_second_judge_is_an_actor(own_ray: None, tmp_path: Path) -> None:
    with embedded_ray(load_recipe("demo").cluster, "salus-control", 2):
        label_and_decide(by_rules(tmp_path), tmp_path / "rules", judging)
