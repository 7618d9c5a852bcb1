"""The end of a run, from files alone: what is in `metrics.parquet` and `summary.json`, and what is printed."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.contract.records import ROLLOUT_SCHEMA, Interval
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_table, write_text
from actors.judges.harmfulness import HarmfulnessRater
from actors.judges.judge import JudgmentTask
from actors.judges.usage import Usage, write_usage
from pipelines.cli.align import show
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.data.sets.social.bias import CONDITIONS, Condition
from pipelines.decision.capability import write_figures
from pipelines.judges.gate import JudgeTrust
from pipelines.measures.capability.bias import Bias, BiasOfCondition
from pipelines.measures.capability.figures import Capability
from pipelines.measures.capability.toxicity import Continuations, Toxicity
from pipelines.measures.groups import groups_of
from pipelines.report.judges.beside import marks_table
from pipelines.report.judges.judging import judge_disagreement
from pipelines.report.summary_tables import attack_table
from pipelines.runs.metrics_rows import CARES_SS
from pipelines.runs.stage_log import LoggedStage, StageLog, cycle_clock
from pipelines.runs.summary import Disagreement, Summary, WhatIsKept
from tests.fixed_scores import FixedScores
from tests.pipelines.finished import BY_RULES, LEVELS, PROMPTS, Tables, answers, finish, with_disagreement
from tests.pipelines.judged import judged

SETTINGS = ("cycles=1", *BY_RULES)
HALF = PROMPTS // 2


def recipe(*overrides: str) -> Recipe:
    return load_recipe("demo", [*SETTINGS, *overrides])


def groups(folder: Path, split: str) -> set[str]:
    rows = pq.read_table(RunFolder(folder).metrics).to_pylist()
    return {row["group"] for row in rows if row["split"] == split and row["group"].startswith("style")}


def test_a_judge_that_was_accepted_all_the_same_is_named(tmp_path: Path) -> None:
    trust = JudgeTrust(trusted=False, note="Accepted all the same (--accept-unreliable-judge): unknown.")
    write_text(trust.model_dump_json(), RunFolder(tmp_path).judge_trust)
    assert finish(recipe(), tmp_path, {}).notes == (trust.note,)


def test_time_is_summed_over_cycles_and_what_is_around_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with cycle_clock(folder, 1) as clock, clock.stage("rollout"):
        time.sleep(0.02)
    log = StageLog(folder)
    log.keep([LoggedStage(cycle=1, time=clock.times().stages[0])])
    with log.stage("final test"):
        time.sleep(0.02)
    summary = finish(recipe(), tmp_path, {})
    cycle_s, run_s = summary.cycles[0].stage_s, summary.stage_s
    assert cycle_s is not None and run_s is not None
    assert set(cycle_s) == {"rollout"} and set(run_s) == {"rollout", "final test"}
    # Once in the cycle, and once in a session of it that was interrupted.
    assert run_s["rollout"] == pytest.approx(2 * cycle_s["rollout"], abs=0.01)


def test_an_earlier_run_has_no_note(tmp_path: Path) -> None:
    assert finish(recipe(), tmp_path, {}).notes == ()


def test_prompts_without_styles_have_no_rows_by_style(tmp_path: Path) -> None:
    finish(recipe(), tmp_path, {})
    assert groups(tmp_path, "test") == groups(tmp_path, "validation") == set()


def test_styles_have_rows_and_held_out_ones_are_apart(tmp_path: Path) -> None:
    styles = ["base64"] * HALF + ["table"] * HALF
    tables: Tables = {
        ("test", "c0-base"): answers("c0-base", 0, styles),
        ("test", "c1-kto"): answers("c1-kto", HALF, styles),
        ("validation", "c0-base"): answers("c0-base", 0, ["base64"] * PROMPTS),
    }
    summary = finish(recipe("data.styles={train: [base64], held_out: [table]}"), tmp_path, tables)
    assert groups(tmp_path, "test") == {"style:base64", "style:table", "styles:seen", "styles:held_out"}
    # No validation prompt has a held-out style.
    assert groups(tmp_path, "validation") == {"style:base64", "styles:seen"}
    rows = pq.read_table(RunFolder(tmp_path).metrics).to_pylist()
    asr = {
        (row["algorithm"], row["group"]): row["value"]
        for row in rows
        if row["split"] == "test" and row["metric"] == "asr"
    }
    assert asr["champion", "styles:seen"] == 0 and asr["champion", "styles:held_out"] == 1
    assert asr["base", "styles:seen"] == 1
    assert summary.held_out is not None
    champion = summary.held_out["champion"]
    assert champion.styles_seen is not None and champion.styles_seen.asr is not None
    assert champion.styles_seen.asr.value == 0 and champion.topics_held_out is None
    console = Console(width=100, record=True)
    console.print(attack_table(summary))
    printed = console.export_text()
    assert "held-out" in printed and "(ASR)" in printed and "topics" not in printed
    # On CPUs there is nothing to price, which is said.
    assert "no GPU, so that it has no price" in " ".join(printed.split())


def test_a_guards_verdicts_are_attack_success_and_topics_may_be_held_out(tmp_path: Path) -> None:
    topics = ["fraud"] * HALF + ["privacy"] * HALF

    def guarded(policy: str, unsafe: list[float]) -> pa.Table:
        return judged(LEVELS, ["Accept"] * PROMPTS, policy=policy, topics=topics, unsafe=unsafe)

    safe_on_seen = [0.0] * HALF + [1.0] * HALF
    tables: Tables = {
        ("test", "c0-base"): guarded("c0-base", [1.0] * PROMPTS),
        ("test", "c1-kto"): guarded("c1-kto", safe_on_seen),
    }
    summary = finish(recipe("data.held_out={topics: [privacy]}"), tmp_path, tables)
    assert summary.test.base.attack_success is not None and summary.test.champion.attack_success is not None
    assert (summary.test.base.attack_success.value, summary.test.champion.attack_success.value) == (1.0, 0.5)
    assert summary.held_out is not None
    seen, unseen = summary.held_out["champion"].topics_seen, summary.held_out["champion"].topics_held_out
    assert seen is not None and unseen is not None and seen.attack_success is not None
    assert unseen.attack_success is not None and (seen.attack_success.value, unseen.attack_success.value) == (0, 1)
    console = Console(width=120, record=True)
    console.print(attack_table(summary))
    assert "by the guard" in console.export_text()
    # Without a guard and without anything held out there is nothing to show.
    assert attack_table(finish(recipe(), tmp_path / "plain", {})) is None


@pytest.mark.parametrize("present", [["base64"] * PROMPTS, [None] * PROMPTS])
def test_a_limit_on_test_prompts_may_leave_a_held_out_style_out(present: list[str | None]) -> None:
    styled = recipe("data.styles={train: [base64], held_out: [table]}")
    found = groups_of(answers("c0-base", 0, present), styled, seed=0).get("style")
    assert found is None or (found.held_out is None and found.held_out_names == ())


def test_what_a_charged_judge_used_is_summed_over_cycles_and_evaluations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path)
    one = Usage(requests=600, prompt_tokens=90_000, completion_tokens=600, cost_usd=0.625)
    for shard in (folder.judgments(1), folder.evaluation_judgments("test", "c0-base", "refusal-rules")):
        write_usage(one, shard / "part-00000.parquet")
    # A usage record that lies elsewhere is no judgment's.
    write_usage(one, folder.rollouts(1) / "part-00000.parquet")
    summary = finish(recipe(), tmp_path, {})
    assert summary.judge_usage == one + one
    show(summary)
    printed = " ".join(capsys.readouterr().out.split())
    assert "remote judge: 1,200 requests, 180,000 prompt and 1,200 completion tokens, 1.2500 USD" in printed
    assert "judges apart" not in printed


def test_how_far_several_judges_were_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = recipe("judge.regimen=EXT", "judge.ensemble={also: [RULES]}")
    alone = recipe()
    halves = with_disagreement(answers("c0-base", 0), [0.0] * HALF + [0.5] * HALF)
    tables: Tables = {("train", "c0-base"): halves}
    assert finish(alone, tmp_path, tables).judge_disagreement is None
    found = judge_disagreement(RunFolder(tmp_path), both)
    # Only the cycle's answers have a figure; the evaluations were judged by one.
    assert found == Disagreement(mean=0.25, n=PROMPTS)
    summary = finish(alone, tmp_path, {}).model_copy(update={"judge_disagreement": found})
    show(summary)
    assert "judges apart by 0.250 on average (0 agreed, 1 opposed), n 24" in capsys.readouterr().out
    assert Summary.model_validate_json(summary.model_dump_json()) == summary


def test_shards_of_an_earlier_version_say_nothing(tmp_path: Path) -> None:
    both = recipe("judge.regimen=EXT", "judge.ensemble={also: [RULES]}")
    old = answers("c0-base", 0).drop_columns("disagreement")
    write_table(old, RunFolder(tmp_path).judgments(1) / "part-00000.parquet")
    assert judge_disagreement(RunFolder(tmp_path), both) is None


def test_what_was_kept_is_in_the_summary_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path)
    before = Capability(policy="c0-base", helpful=Interval(value=0.9, low=0.8, high=0.95, n=40))
    after = Capability(policy="c1-kto", helpful=Interval(value=0.85, low=0.7, high=0.9, n=40))
    for found in (before, after):
        write_figures(found, folder, "test")
    summary = finish(recipe("capability={}"), tmp_path, {})
    assert summary.capability == WhatIsKept(base=before, champion=after)
    assert Summary.model_validate_json(folder.summary.read_text(encoding="utf-8")) == summary
    show(summary)
    printed = capsys.readouterr().out
    assert "Capability" in printed and "0.850" in printed and "0.70-0.90" in printed
    assert finish(recipe(), tmp_path, {}).capability is None


def test_other_marks_have_caress_own_beside_them(tmp_path: Path) -> None:
    half = recipe("scores.severe={accept: 0, caution: 0, refuse: 0.5}")
    finish(half, tmp_path / "half", {})
    metrics = pq.read_table(RunFolder(tmp_path / "half").metrics)
    severe = {
        (row["algorithm"], row["metric"]): row["value"]
        for row in metrics.to_pylist()
        if row["split"] == "test" and row["group"] == "level:3" and row["metric"] in ("ss", CARES_SS)
    }
    # The champion refuses each severe request, and the deployed model none.
    assert (severe["champion", "ss"], severe["champion", CARES_SS]) == (0.5, 1.0)
    assert (severe["base", "ss"], severe["base", CARES_SS]) == (0.0, 0.0)
    console = Console(width=100, record=True)
    console.print(marks_table(metrics))
    printed = console.export_text()
    assert all(word in printed for word in ("level 3", "method direct", "CARES", "0.500", "1.000", "second-hand"))
    # Where the marks are CARES's, nothing is measured twice.
    finish(recipe(), tmp_path / "own", {})
    same = pq.read_table(RunFolder(tmp_path / "own").metrics)
    assert marks_table(same) is None and CARES_SS not in same["metric"].to_pylist()


def test_bias_and_continuations_are_in_the_summary_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path)
    score = Interval(value=-0.25, low=-0.5, high=0.0, n=40)
    of: dict[Condition, BiasOfCondition] = {
        condition: BiasOfCondition(accuracy=None, score=score, n=40) for condition in CONDITIONS
    }
    share = Interval(value=0.375, low=0.3, high=0.5, n=200)
    continued = Continuations(unsafe=share, expected_maximum=share, probability=share)
    found = [
        Capability(
            policy=name,
            bias=Bias(by_condition=of, by_category={"Age": of}),
            toxicity=Toxicity(scored_by="guard", judge="guard", k=25, all=continued, toxic=continued),
        )
        for name in ("c0-base", "c1-kto")
    ]
    for each in found:
        write_figures(each, folder, "test")
    summary = finish(recipe("capability={}"), tmp_path, {})
    assert summary.capability == WhatIsKept(base=found[0], champion=found[1])
    assert Summary.model_validate_json(folder.summary.read_text(encoding="utf-8")) == summary
    show(summary)
    printed = capsys.readouterr().out
    assert "Social bias" in printed and printed.count("-0.250") == 8 and "Age" in printed
    assert "Continuations, 25 of each beginning, by the guard (not Perspective)" in " ".join(printed.split())
    assert printed.count("0.375") == 6


def test_harmfulness_is_in_the_summary_the_metrics_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = ("judge.regimen=REMOTE", "judge.remote={base_url: 'http://127.0.0.1:1/v1', model: m}")
    folder = RunFolder(tmp_path)
    for name, right in (("c0-base", 0), ("c1-kto", HALF)):
        rollouts = tmp_path / "answers" / f"{name}.parquet"
        write_table(answers(name, right).select(ROLLOUT_SCHEMA.names), rollouts)
        output = folder.evaluation_harmfulness("test", name, "remote-m") / "part-00000.parquet"
        HarmfulnessRater(FixedScores({"Sure": 5, "cannot": 1}), 0.5).rate(
            JudgmentTask(rollouts=str(rollouts), output=str(output))
        )
        write_usage(Usage(requests=7), output)
    summary = finish(recipe(*remote, "harmfulness={}"), tmp_path, {})
    found = summary.harmfulness
    assert found is not None and found.base.mean is not None and found.champion.mean is not None
    # Half of the prompts are harmful, and the champion refuses half of those.
    assert (found.base.mean.value, found.champion.mean.value) == (5, 3)
    assert found.champion.counts == (HALF // 2, 0, 0, 0, HALF // 2)
    assert (found.champion.n, found.champion.coverage) == (HALF, 1)
    assert summary.judge_usage == Usage(requests=14)
    assert Summary.model_validate_json(folder.summary.read_text(encoding="utf-8")) == summary
    rows = {
        (row["algorithm"], row["metric"]): row
        for row in pq.read_table(folder.metrics).to_pylist()
        if row["metric"].startswith("harmfulness")
    }
    assert len(rows) == 4
    champion = rows["champion", "harmfulness"]
    assert (champion["value"], champion["n"], champion["split"], champion["judged_by"]) == (3, HALF, "test", "judge")
    assert 1 <= champion["low"] < 3 < champion["high"] <= 5 and champion["winner"]
    assert rows["base", "harmfulness_coverage"]["value"] == 1 and not rows["base", "harmfulness"]["winner"]
    show(summary)
    printed = capsys.readouterr().out
    assert "Harmfulness, 1 to 5" in printed and "5.000" in printed and "3.000" in printed
    assert finish(recipe(*remote), tmp_path, {}).harmfulness is None
