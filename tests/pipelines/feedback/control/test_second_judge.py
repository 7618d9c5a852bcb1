"""A second judge as the reference: another than the run's own, named in the record with whether it was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.contract.records import ROLLOUT_SCHEMA
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.judges.judge import Judge, JudgmentTask
from actors.judges.rules import RULES_JUDGE, RuleScorer, refusal_label
from pipelines.cluster.demand import demand
from pipelines.cluster.plan import make_plan
from pipelines.cluster.session import embedded_ray
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.decision.control import read_control
from pipelines.feedback.control.labels import label_control
from pipelines.feedback.control.second_judge import hold_second_judge, second_labels, told_second_judge
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
    assert labels == [refusal_label(answer) for answer in rows["answer"].to_pylist()]
    assert not ray.is_initialized()


@pytest.mark.ray
def test_rules_and_a_server_label_the_drawn_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTROL_KEY", KEY)
    tables = contenders()

    def reply(body: dict[str, Any], number: int) -> Answer:
        asked = json.dumps(body["messages"])
        return completion(None, "Refuse" if "sorry" in asked else "Accept")

    with serving(reply) as server:
        remote = (
            "decide.control={per_contender: 40, judge: {regimen: REMOTE, accept_unreliable: true, remote: {base_url:"
            f" '{server.url}', model: org/other, api_key_env: CONTROL_KEY, reply: word}}}}}}"
        )
        with embedded_ray(load_recipe("demo").cluster, "salus-control", 2):
            for name, by in (("rules", by_rules(tmp_path)), ("server", recipe(tmp_path, remote))):
                folder = RunFolder(tmp_path / name)
                label_control(by, folder, 1, tables, QuietReporter())
                control = read_control(folder.control(1))
                assert control is not None and control.num_rows == 80
                assert control["reference_label"].null_count == 0
                (reference,) = control["reference"].unique().to_pylist()
                assert reference.startswith("judge ") and reference.endswith(", not calibrated")
                decided = decision(by, folder)
                assert (decided.chosen, decided.publish) == ("kto", True)
                check = decided.challengers[0].judge
                assert check is not None and check.accuracy == 1.0 and reference in check.sentence
                written, asked = folder.control(1).read_bytes(), len(server.asked)
                label_control(by, folder, 1, tables, QuietReporter())
                assert folder.control(1).read_bytes() == written and len(server.asked) == asked
            assert len(server.asked) == 80
