"""The end of a run: at the recipe's last cycle or when patience is used up, and at the same one after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.contract.records import ChallengerName, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.coordinator.coordinator import CycleOutcome
from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.alignment.align import align
from pipelines.cli.main import main
from pipelines.cluster.plan import make_plan
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.load import load_recipe
from pipelines.config.scores import ScoreTable
from pipelines.decision.ending import is_over, past_decisions, patience_used_up
from pipelines.decision.of_run import DecisionOfRun
from pipelines.decision.record import Contender, read_decision
from pipelines.runs.open import open_run
from pipelines.runs.outcomes import champion_before, past_outcomes
from pipelines.runs.summary import complete_summary
from tests.pipelines.finished import BASE, answers, finish
from tests.quiet_reporter import QuietReporter

WON: Contender = "kto"
STAYED: Contender = "champion"
PATIENT = (
    "cycles=3",
    "decide.patience=1",
    "judge.regimen=RULES",
    "judge.truth=null",
    "decide.gate.min_n=1",
    "decide.publish_uncorrected=true",
)


def run_on(root: Path, script: Sequence[Contender], patience: int | None, cycles: int) -> list[CycleOutcome]:
    """What `salus align` does of a run, from where the folder is, with decisions of the run's own rule."""
    folder = RunFolder(root)
    gate = GateConfig(err_strict_max=(), min_n=1)
    config = DecisionConfig(gate=gate, publish_gate=None, patience=patience, resamples=100, publish_uncorrected=True)
    rule = DecisionOfRun(ScoreTable(), config, 0, None, str(root), BASE.version)
    outcomes = past_outcomes(folder, BASE, cycles)
    while not is_over(outcomes, cycles):
        cycle = len(outcomes) + 1
        right = 24 if script[cycle - 1] == WON else 0
        kto: dict[ChallengerName, pa.Table] = {"kto": answers(f"c{cycle}-kto", right)}
        decision = rule(cycle, answers("before", 0), kto, {})
        assert decision.chosen == script[cycle - 1]
        write_text(decision.model_dump_json(), folder.decision(cycle))
        outcomes = past_outcomes(folder, BASE, cycles)
    return outcomes


@pytest.mark.parametrize(
    ("chosen", "patience", "ends"),
    [
        ([STAYED] * 9, None, False),
        ([STAYED], 1, True),
        ([STAYED], 2, False),
        ([WON, STAYED, STAYED], 2, True),
        ([STAYED, WON, STAYED], 2, False),
        ([STAYED, STAYED, WON], 2, False),
        ([], 1, False),
    ],
)
def test_patience_counts_cycles_in_a_row(chosen: list[Contender], patience: int | None, ends: bool) -> None:
    sentence = patience_used_up(chosen, patience)
    assert (sentence is not None) == ends
    if sentence is not None:
        assert sentence.startswith(f"No cycle follows cycle {len(chosen)}: the champion stayed in the last ")


def test_a_patience_of_no_cycle_is_refused() -> None:
    with pytest.raises(ValidationError):
        DecisionConfig(patience=0)
    assert DecisionConfig().patience is None


def test_the_last_decision_says_why_it_is_the_last(tmp_path: Path) -> None:
    outcomes = run_on(tmp_path, [WON, STAYED, STAYED, WON], patience=2, cycles=9)
    assert [outcome.chosen for outcome in outcomes] == [WON, STAYED, STAYED]
    assert [outcome.champion.version for outcome in outcomes] == ["c1-kto"] * 3
    ended = [decision.ended for decision in past_decisions(RunFolder(tmp_path), 9)]
    sentence = "No cycle follows cycle 3: the champion stayed in the last 2 cycles (decide.patience 2)."
    assert ended == [None, None, sentence] == [outcome.ended for outcome in outcomes]
    with pytest.raises(SalusError, match=r"Cycle 4 of .* is not to be run\. No cycle follows cycle 3.*--run"):
        champion_before(RunFolder(tmp_path), BASE, 4)
    assert champion_before(RunFolder(tmp_path), BASE, 3).version == "c1-kto"


def test_past_outcomes_tell_what_may_be_live(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    run_on(tmp_path, [STAYED, WON, WON], patience=None, cycles=3)
    held_back = read_decision(folder.decision(3)).model_copy(update={"publish": False})
    write_text(held_back.model_dump_json(), folder.decision(3))
    outcomes = past_outcomes(folder, BASE, 3)
    assert [outcome.champion.version for outcome in outcomes] == [BASE.version, "c2-kto", "c3-kto"]
    assert [live.version for o in outcomes if (live := o.published)] == [BASE.version, "c2-kto", "c2-kto"]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from([WON, STAYED]), min_size=4, max_size=4),
    st.none() | st.integers(1, 3),
    st.lists(st.integers(1, 4), max_size=2),
)
def test_a_run_that_is_taken_up_again_ends_where_it_would_have_ended(
    tmp_path_factory: pytest.TempPathFactory, script: list[Contender], patience: int | None, stops: list[int]
) -> None:
    at_once = run_on(tmp_path_factory.mktemp("once"), script, patience, 4)
    again = tmp_path_factory.mktemp("again")
    # A run of fewer cycles is one that was interrupted, or that was given more of them later.
    for cycles in sorted(stops):
        run_on(again, script, patience, cycles)
    outcomes = run_on(again, script, patience, 4)
    plain = [(o.cycle, o.chosen, o.champion.version, o.ended) for o in at_once]
    assert [(o.cycle, o.chosen, o.champion.version, o.ended) for o in outcomes] == plain
    assert is_over(outcomes, 4) and (len(outcomes) == 4 or outcomes[-1].ended is not None)


def test_a_run_that_patience_ended_is_complete_and_reported_as_far_as_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    recipe = load_recipe("demo", PATIENT)
    folder = open_run(recipe, root, fresh=False)
    summary = finish(recipe, root, {("validation", "c1-kto"): answers("c1-kto", 0)})
    assert [cycle.decision for cycle in summary.cycles] == ["champion"]
    assert summary.cycles[0].ended is not None
    assert complete_summary(folder.summary, recipe.cycles) == summary
    metrics = pq.read_table(folder.metrics).to_pylist()
    assert {row["cycle"] for row in metrics if row["split"] == "test"} == {1}
    with pytest.raises(SystemExit):
        main(["status", str(root)])
    printed = " ".join(capsys.readouterr().out.split())
    # Once below the table of steps, once below that of cycles.
    assert printed.count("No cycle follows cycle 1: the champion stayed in the last cycle (decide.patience 1).") == 2
    # Without patience the same summary is of a run that has cycles to go.
    bare = summary.model_copy(update={"cycles": (summary.cycles[0].model_copy(update={"ended": None}),)})
    write_text(bare.model_dump_json(), folder.summary)
    assert complete_summary(folder.summary, recipe.cycles) is None


def test_align_starts_nothing_where_patience_ended_the_run(tmp_path: Path) -> None:
    rules = load_recipe("demo", PATIENT)
    summary = finish(rules, tmp_path / "rules", {("validation", "c1-kto"): answers("c1-kto", 0)})
    recipe = load_recipe("demo", PATIENT[:2])
    folder = open_run(recipe, tmp_path / "run", fresh=False)
    write_text(summary.model_dump_json(), folder.summary)
    assert align(recipe, folder.root, QuietReporter()) == summary


def test_a_plan_names_the_patience() -> None:
    assert (
        make_plan(load_recipe("demo", ["decide.patience=2"]))
        .steps[-1]
        .endswith("at most 3 cycle(s) in all, fewer once the champion has stayed in 2 in a row")
    )
    assert make_plan(load_recipe("demo")).steps[-1].endswith("3 cycle(s) in all")


def test_a_run_without_decisions_has_its_base_for_champion(tmp_path: Path) -> None:
    assert past_outcomes(RunFolder(tmp_path), BASE, 3) == []
    assert champion_before(RunFolder(tmp_path), PolicyRef(version="v", path="/v"), 1).version == "v"


def test_a_finished_run_asks_for_no_feedback_any_more(tmp_path: Path) -> None:
    gone = f"preference.feedback={{path: {tmp_path / 'gone'}, trusted_only: [ward]}}"
    root = tmp_path / "run"
    recipe = load_recipe("demo", [*PATIENT, gone, "judge.accept_unreliable=true"])
    open_run(recipe, root, fresh=False)
    with pytest.raises(SalusError, match="holds no feedback"):
        align(recipe, root, QuietReporter())
    summary = finish(recipe, root, {("validation", "c1-kto"): answers("c1-kto", 0)})
    assert align(recipe, root, QuietReporter()) == summary
