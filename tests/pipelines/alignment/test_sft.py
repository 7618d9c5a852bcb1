"""Fine-tuning before the cycles: what is learnt, what is never learnt, who is champion then, and what it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.contract.conversation import turns_of
from actors.contract.records import PolicyRef, prompt_table
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder, write_table, write_text
from pipelines.alignment.evaluation import Evaluation
from pipelines.alignment.promise import check_files
from pipelines.alignment.rows.demonstrations import write_demonstrations
from pipelines.alignment.rows.outside import OutsideReport
from pipelines.alignment.run import Run
from pipelines.alignment.steps import sft_step
from pipelines.cluster.demand import disk_gib
from pipelines.cluster.plan import make_plan
from pipelines.cluster.pools import Pools
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from pipelines.runs.finished.shape import champions_of
from pipelines.runs.materials import Materials
from pipelines.runs.outcomes import champion_before, first_champion, live_policy, past_outcomes
from tests.pipelines.finished import BASE, answers
from tests.quiet_reporter import QuietReporter
from tests.rows import prompt

ASK = {"role": "user", "content": "How do I store insulin?"}
TELL = {"role": "assistant", "content": "Keep it cold."}
MORE = {"role": "user", "content": "And when I travel?"}
BAG = {"role": "assistant", "content": "Use a cool bag."}
SYSTEM = {"role": "system", "content": "Be brief."}


def recipe_of(*changes: str) -> Recipe:
    return load_recipe("demo", ["judge.regimen=RULES", "judge.truth=null", *changes])


def chats(folder: Path, *conversations: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in conversations))
    return path


def prompts_of(root: Path) -> RunFolder:
    folder = RunFolder(root / "run")
    train = [prompt(0, 3, "I can't help."), prompt(1, 0), prompt(2, 3, "No."), prompt(0, 3, "I can't help.")]
    write_table(prompt_table(train), folder.prompts("train") / "part-00000.parquet")
    write_table(prompt_table([prompt(9, 3, "Never.")]), folder.prompts("test") / "part-00000.parquet")
    return folder


# -- what is learnt


def test_references_and_every_answer_of_a_conversation_are_learnt_once(tmp_path: Path) -> None:
    folder = prompts_of(tmp_path)
    file = chats(tmp_path, [SYSTEM, ASK, TELL, MORE, BAG], [SYSTEM, ASK, TELL])
    recipe = recipe_of(f"sft={{path: {file}}}")
    report = write_demonstrations(recipe, folder)
    assert report == OutsideReport(kept=4, repeated=2)
    rows = read_folder(folder.rows(0, "demonstrations")).to_pylist()
    assert [(row["prompt"], row["completion"]) for row in rows] == [
        ("request number 0", "I can't help."),
        ("request number 2", "No."),
        ("How do I store insulin?", "Keep it cold."),
        ("And when I travel?", "Use a cool bag."),
    ]
    assert [turn.content for turn in turns_of(rows[3]["context"])] == [
        "Be brief.", "How do I store insulin?", "Keep it cold.",
    ]  # fmt: skip
    assert rows[0]["context"] is None
    # Once: what is written is left, whatever became of the file.
    file.unlink()
    assert write_demonstrations(recipe, folder) == report
    assert write_demonstrations(recipe_of(), folder) is None


def test_what_the_run_is_measured_on_is_never_learnt(tmp_path: Path) -> None:
    folder = prompts_of(tmp_path)
    asked = {"role": "user", "content": "Request number 9"}
    file = chats(tmp_path, [asked, TELL], [asked, TELL, MORE, BAG])
    with pytest.raises(SalusError, match=r"No demonstration is left of the 3 that were read\."):
        write_demonstrations(recipe_of(f"sft={{references: false, path: {file}}}"), folder)
    report = write_demonstrations(recipe_of(f"sft={{path: {file}}}"), folder)
    assert report == OutsideReport(kept=2, repeated=1, evaluated=3)


def test_a_limit_draws_by_the_seed(tmp_path: Path) -> None:
    file = chats(tmp_path, *([{"role": "user", "content": f"q {i}"}, TELL] for i in range(40)))

    def drawn(name: str, seed: int) -> list[str]:
        folder = prompts_of(tmp_path / name)
        changes = [f"sft={{references: false, path: {file}, most: 10}}", f"seed={seed}"]
        report = write_demonstrations(recipe_of(*changes), folder)
        assert report is not None and report.kept == 10
        return [str(text) for text in read_folder(folder.rows(0, "demonstrations"))["prompt"].to_pylist()]

    assert drawn("a", 1) == drawn("b", 1) != drawn("c", 2)


@pytest.mark.parametrize(
    ("conversation", "sentence"),
    [
        ([ASK], "no assistant message to learn"),
        ([TELL], "follows no user message"),
        ([ASK, TELL, BAG], "follows no user message"),
        ([ASK, SYSTEM, TELL], "a system message that is not the first"),
        ("How do I store insulin?", "holds no list of messages"),
    ],
)
def test_a_bad_conversation_is_refused_with_its_place_before_anything_starts(
    conversation: Any, sentence: str, tmp_path: Path
) -> None:
    file = chats(tmp_path, [ASK, TELL], conversation)
    with pytest.raises(SalusError, match=f"chats.jsonl, line 2: .*{sentence}"):
        check_files(recipe_of(f"sft={{path: {file}}}"))


# -- who is champion


def decided(folder: RunFolder, champion: str, chosen: int) -> None:
    config = DecisionConfig(gate=GateConfig(min_n=1), resamples=100)
    made = decide(1, answers(champion, 0), {"kto": answers("c1-kto", chosen)}, ScoreTable(), config, 0)
    write_text(made.model_dump_json(), folder.decision(1))


def test_the_first_cycle_starts_from_what_was_fine_tuned_and_the_deployed_policy_stays_live(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert first_champion(folder, BASE) == BASE == champion_before(folder, BASE, 1)
    write_text("{}", folder.training(0, "sft") / "report.json")
    tuned = PolicyRef(version="c0-sft", path=str(tmp_path / "cycles" / "00" / "sft" / "merged"))
    assert first_champion(folder, BASE) == tuned == champion_before(folder, BASE, 1)
    assert live_policy(folder, BASE, 1) == BASE
    assert champions_of(folder, 3) == ("c0-sft",)
    # It has no judged answers of the deployed policy yet, which the publish gate compares with.
    run = Run(recipe_of("sft={}"), folder, Materials(policy=BASE, judge=None), Pools((), ()), None, QuietReporter())
    assert [each.version for each in Evaluation(run, 1, tuned).policies([])] == ["c0-sft", "c0-base"]


@pytest.mark.parametrize(("right", "champion"), [(24, "c1-kto"), (0, "c0-sft")])
def test_a_decision_tells_of_it_where_its_report_was_not_fetched(right: int, champion: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    decided(folder, "c0-sft", right)
    (outcome,) = past_outcomes(folder, BASE, 1)
    assert outcome.champion.version == champion and outcome.published == BASE
    assert champions_of(folder, 1) == ("c0-sft", champion)


# -- what it needs


def test_the_plan_has_it_as_a_stage_of_its_own_in_which_nothing_else_is_up() -> None:
    plain, tuned = recipe_of(), recipe_of("sft={workers_per_run: 1, most: 50}", "merge={method: ties}")
    plan = make_plan(tuned)
    assert [stage.name for stage in plan.stages] == ["fine-tune", "run"]
    assert {row.actor for row in plan.stages[0].rows} == {
        "driver and Ray", "SFT controller (Ray Train)", "SFT worker",
    }  # fmt: skip
    # The most at once is what it was.
    assert (plan.cpus, plan.memory_gib) == (make_plan(plain).cpus, make_plan(plain).memory_gib)
    assert plan.steps[0].startswith(
        "fine-tune, once before the cycles: the train prompts' reference answers, at most 50"
    )
    assert "merge: the trained challengers into one more, by ties" in plan.steps
    assert any(step.startswith("evaluate: 4 policies") for step in plan.steps)
    assert disk_gib(tuned) > disk_gib(plain)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["sft={references: false}"], "there is nothing to learn"),
        (["merge={}", "train.challengers.dpo=null"], "merge needs two challengers at least"),
        (["merge={weights: {kto: 1}}"], "merge.weights must have one weight for each challenger"),
        (["merge={of: adapters}", "train.lora=null"], "merge.of 'adapters' needs train.lora"),
        (["merge={}", "decide.correction=none"], "with 3 challengers"),
        (["train.challengers.merge={algorithm: dpo}"], "a name that Salus uses itself"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: list[str], sentence: str) -> None:
    with pytest.raises(SalusError, match=sentence):
        recipe_of(*changes)


def test_fine_tuning_alone_is_refused_where_the_recipe_has_none(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="fine-tunes nothing"):
        sft_step(recipe_of(), tmp_path, QuietReporter())
