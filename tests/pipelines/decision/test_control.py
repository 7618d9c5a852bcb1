"""A verdict that survives a wrong judge: control labels are drawn, held against the judge, and decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from actors.contract.records import LABELS, ChallengerName, Label
from actors.errors import SalusError
from actors.files.shards import write_table
from pipelines.config.decision import ControlConfig, DecisionConfig, GateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.control import (
    CONTROL_SCHEMA,
    check_judge,
    control_labels,
    draw_control,
    labels_of,
    read_control,
    write_control,
)
from pipelines.decision.decide import decide
from pipelines.decision.paired import compare
from pipelines.decision.record import Decision
from tests.benchmarks.decision_power import Cycle, Scenario, draw_biased
from tests.pipelines.judged import BEST, judged, shuffled

OPEN = GateConfig(err_strict_max=(), min_n=1, max_repetition=None, max_length_ratio=None, min_coverage=0.0)
CONFIG = DecisionConfig(gate=OPEN, resamples=300)
TABLE = ScoreTable()
LEVELS = [0, 1, 2, 3] * 100


def truth(answer: str) -> Label:
    """The simulated answers say what they are."""
    said = answer.rpartition(" ")[2]
    return next(label for label in LABELS if label == said)


def labelled(tables: dict[str, pa.Table], n: int, seed: int) -> pa.Table:
    drawn = draw_control(tables["champion"], n, seed)
    return pa.concat_tables(control_labels(name, table, drawn, "clinic", truth) for name, table in tables.items())


def demo(seed: int, prompts: int = 400) -> tuple[Cycle, dict[str, pa.Table]]:
    """A cycle like the demo's second of seed 7: the judge is wrong about 191 of KTO's 400 answers."""
    cycle = draw_biased(Scenario(prompts), np.random.default_rng(seed))
    return cycle, {"champion": cycle.judged("champion"), "kto": cycle.judged("kto")}


def decided(tables: dict[str, pa.Table], config: DecisionConfig, control: pa.Table | None) -> Decision:
    challengers: dict[ChallengerName, pa.Table] = {name: table for name, table in tables.items() if name != "champion"}
    return decide(1, tables["champion"], challengers, TABLE, config, 0, control=control)


def test_the_simulated_judge_is_as_wrong_as_the_demos() -> None:
    cycle, _ = demo(1, 40_000)
    marks = TABLE.marks()
    assert cycle.marks.mean(axis=1)[1] == pytest.approx(0.96, abs=0.005)
    assert marks[cycle.levels, cycle.trusted].mean(axis=1)[1] == pytest.approx(0.77, abs=0.01)
    assert (cycle.labels[1] != cycle.trusted[1]).mean() == pytest.approx(191 / 400, abs=0.02)
    assert (cycle.labels[0] == cycle.trusted[0]).all()


def test_a_biased_judge_lets_no_challenger_win_where_it_is_checked() -> None:
    """Without labels more data makes it win for certain; with 40 of each contender it never does."""
    _, tables = demo(2, 1000)
    blind = decided(tables, CONFIG, None)
    assert (blind.chosen, blind.reason, blind.correction) == ("kto", "better", "judge_uncorrected")
    assert not blind.publish and "judge_uncorrected" in blind.publish_sentence
    seen = decided(tables, CONFIG, labelled(tables, 40, 5))
    (kto,) = seen.challengers
    assert (seen.chosen, seen.reason, kto.standing) == ("champion", "judge_unreliable", "judge_unreliable")
    assert kto.judge is not None and kto.judge.n == 40 and kto.judge.accuracy < 0.8
    assert "The judge labels" in seen.sentence and "of 40 control answers" in seen.sentence
    assert seen.champion.judge is not None and seen.champion.judge.accuracy == 1.0
    # Where the threshold would let it pass, the corrected gain still decides.
    loose = CONFIG.model_copy(update={"control": ControlConfig(min_accuracy=0.0)})
    corrected = decided(tables, loose, labelled(tables, 40, 5))
    (kto,) = corrected.challengers
    assert (corrected.chosen, kto.standing, corrected.correction) == ("champion", "not_better", "corrected")
    assert kto.comparison is not None and kto.comparison.corrected is not None
    assert kto.comparison.p_better < 0.05 < kto.comparison.corrected.p == kto.comparison.p_better_holm


def test_eighty_labels_put_the_corrected_gain_below_zero_and_twenty_find_the_judge() -> None:
    """In .99 of draws, on the demo's 400 answers."""
    draws = 200
    below, found = 0, 0
    for seed in range(draws):
        _, tables = demo(seed)
        control = labelled(tables, 80, seed)
        known = tuple(labels_of(control, name, tables[name]) for name in ("champion", "kto"))
        comparison = compare(tables["champion"], tables["kto"], TABLE, seed, 100, control=(known[0], known[1]))
        assert comparison is not None and comparison.corrected is not None
        below += comparison.corrected.high < 0.0
        twenty = labels_of(labelled(tables, 20, seed), "kto", tables["kto"])
        assert twenty is not None
        found += check_judge(twenty).accuracy < ControlConfig().min_accuracy
    assert below / draws >= 0.99
    assert found / draws >= 0.99


def test_a_judge_that_is_right_lets_a_real_gain_win_and_be_published() -> None:
    labels = [BEST[level] for level in LEVELS]
    worse = [label if i % 4 else ("Refuse" if label == "Accept" else "Accept") for i, label in enumerate(labels)]
    tables = {"champion": judged(LEVELS, worse), "kto": judged(LEVELS, labels, policy="k1")}
    control = labelled(tables, 40, 1)
    decision = decided(tables, CONFIG, control)
    assert (decision.chosen, decision.publish, decision.correction) == ("kto", True, "corrected")
    comparison = decision.challengers[0].comparison
    assert comparison is not None and (corrected := comparison.corrected) is not None
    assert corrected.gain == pytest.approx(0.25, abs=1e-9) and corrected.low > 0.0
    # All labels are right, and yet the interval is as wide as 40 labels allow.
    assert corrected.standard_error > 2.0 / 40 * 0.9
    assert corrected.n_labelled == 80
    assert {name: sum(level.n for level in by.values()) for name, by in corrected.judge_error.items()} == {
        "champion": 40,
        "challenger": 40,
    }
    assert "at random within each harm level" in corrected.sampling and "clinic" in corrected.sampling
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    # In any order of rows.
    mixed = {name: shuffled(table, 3) for name, table in tables.items()}
    assert decided(mixed, CONFIG, shuffled(control, 4)) == decision


def test_labels_take_a_gain_back_and_give_none() -> None:
    """By the judge there is no gain; the labels say that it called the challenger's best answers wrong."""
    best = [BEST[level] for level in LEVELS]
    bad = ["Refuse" if label == "Accept" else "Accept" for label in best]
    half = [label if i % 2 else other for i, (label, other) in enumerate(zip(best, bad, strict=True))]
    kto = judged(LEVELS, half, policy="k1", answers=[f"k1 says {label}" for label in best])
    tables = {"champion": judged(LEVELS, half), "kto": kto}
    loose = CONFIG.model_copy(update={"control": ControlConfig(min_accuracy=0.0)})
    decision = decided(tables, loose, labelled(tables, 200, 1))
    comparison = decision.challengers[0].comparison
    assert comparison is not None and comparison.corrected is not None
    assert comparison.corrected.low > 0.0 and decision.chosen == "champion"


def test_publishing_without_labels_needs_an_explicit_setting() -> None:
    labels = [BEST[level] for level in LEVELS]
    tables = {"champion": judged(LEVELS, ["Caution"] * 400), "kto": judged(LEVELS, labels, policy="k1")}
    held = decided(tables, CONFIG, None)
    assert (held.chosen, held.publish) == ("kto", False)
    assert "decide.publish_uncorrected" in held.publish_sentence
    let = decided(tables, CONFIG.model_copy(update={"publish_uncorrected": True}), None)
    assert let.publish and "judge_uncorrected" in let.publish_sentence


def test_the_sample_is_drawn_by_the_seed_within_each_level() -> None:
    levels = [0] * 200 + [1] * 67 + [2] * 67 + [3] * 66
    prompts = judged(levels, ["Accept"] * 400)
    drawn = draw_control(prompts, 40, 1)
    assert drawn == draw_control(shuffled(prompts, 9), 40, 1)
    assert drawn["prompt_id"].to_pylist() != draw_control(prompts, 40, 2)["prompt_id"].to_pylist()
    rows = prompts.filter(pc.is_in(prompts["prompt_id"], value_set=drawn["prompt_id"].combine_chunks()))
    counts = np.bincount(rows["level"].to_numpy())
    assert counts.tolist() == [20, 7, 7, 6]
    chances = dict(zip(drawn["prompt_id"].to_pylist(), drawn["inclusion_probability"].to_pylist(), strict=True))
    assert chances[str(rows["prompt_id"][0])] == pytest.approx(20 / 200)
    # Every prompt has its chance: over many draws each of level 3 comes up in 6 of 66.
    often = [draw_control(prompts, 40, seed)["prompt_id"].to_pylist() for seed in range(300)]
    share = np.mean(["p00399" in each for each in often])
    assert share == pytest.approx(6 / 66, abs=0.05)


def test_small_levels_have_two_and_no_level_more_than_it_has() -> None:
    drawn = draw_control(judged([0] * 300 + [3] * 3 + [2], ["Accept"] * 304), 40, 1)
    assert drawn.num_rows == 40 + 2 + 1
    assert draw_control(judged([0, 3], ["Accept"] * 2), 40, 1)["inclusion_probability"].to_pylist() == [1.0, 1.0]
    assert draw_control(judged([0, 3], ["Accept"] * 2), 0, 1).num_rows == 0


def test_labels_of_other_judgments_are_refused() -> None:
    _, tables = demo(3)
    control = labelled(tables, 40, 1)
    changed = tables["kto"].set_column(
        tables["kto"].column_names.index("label"), "label", pa.array(["Accept"] * 400, pa.string())
    )
    with pytest.raises(SalusError, match=r"was made from other judgments.*control\.parquet"):
        decided(tables | {"kto": changed}, CONFIG, control)


def test_an_answer_that_the_judge_or_the_reference_left_out_counts_for_neither() -> None:
    labels: list[str | None] = [BEST[level] for level in LEVELS]
    labels[:200] = [None] * 200
    table = judged(LEVELS, labels, answers=[f"says {BEST[level]}" for level in LEVELS])
    control = labelled({"champion": table}, 40, 1)
    known = labels_of(control, "champion", table)
    assert known is not None and 10 < known.num_rows < 30
    assert check_judge(known).wrong == 0
    assert labels_of(control, "kto", table) is None and labels_of(None, "champion", table) is None


def test_control_labels_are_kept_and_read(tmp_path: Path) -> None:
    _, tables = demo(4)
    drawn = draw_control(tables["champion"], 40, 1)
    each = {name: control_labels(name, table, drawn, "clinic", truth) for name, table in tables.items()}
    path = tmp_path / "control.parquet"
    assert read_control(path) is None
    write_control(each, path)
    found = read_control(path)
    assert found is not None and found.schema.equals(CONTROL_SCHEMA) and found.num_rows == 80
    assert set(found["contender"].to_pylist()) == {"champion", "kto"}
    write_table(found.drop_columns("reference"), path)
    with pytest.raises(SalusError):
        read_control(path)


def test_a_check_of_few_labels_did_not_pass() -> None:
    """The judge is right, and the gain is real: with half of the labels it wins, and with fewer it cannot."""
    labels = [BEST[level] for level in LEVELS]
    worse = [label if i % 4 else ("Refuse" if label == "Accept" else "Accept") for i, label in enumerate(labels)]
    tables = {"champion": judged(LEVELS, worse), "kto": judged(LEVELS, labels, policy="k1")}
    full = labelled(tables, 40, 1)

    def kept(champion: int, kto: int) -> pa.Table:
        """Only so many of each contender's answers are labelled."""
        left = {"champion": champion, "kto": kto}
        given = []
        for row in full.to_pylist():
            left[row["contender"]] -= 1
            given.append(row["reference_label"] if left[row["contender"]] >= 0 else None)
        column = full.column_names.index("reference_label")
        return full.set_column(column, full.schema.field(column), pa.array(given, pa.string()))

    for champion, kto in ((40, 19), (19, 40), (0, 0)):
        decision = decided(tables, CONFIG, kept(champion, kto))
        assert (decision.chosen, decision.publish, decision.reason) == ("champion", False, "judge_unchecked")
        assert decision.challengers[0].standing == "judge_unchecked"
        assert "and a check takes 20" in decision.challengers[0].sentence
        # Nothing could win, so nothing is spent.
        assert decision.alpha_spent == 0.0
        assert Decision.model_validate_json(decision.model_dump_json()) == decision
    # Labels of every second prompt, so that each level has some.
    half = full.filter(pa.array([i % 2 == 0 for i in range(40)] * 2))
    assert decided(tables, CONFIG, half).chosen == "kto"
    # 30 of 40 are enough, but nothing is known of severe requests.
    column = full.column_names.index("reference_label")
    known = [None if row["level"] == 3 else row["reference_label"] for row in full.to_pylist()]
    no_severe = full.set_column(column, full.schema.field(column), pa.array(known, pa.string()))
    blind = decided(tables, CONFIG, no_severe)
    assert blind.reason == "judge_unchecked" and "at harm level 3" in blind.challengers[0].sentence
