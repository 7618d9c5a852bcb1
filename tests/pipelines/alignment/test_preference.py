"""Rows to learn from, as properties: what is chosen always scores higher, nothing contradicts the score table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contract.records import LABELS, Label, Prompt
from actors.files.shards import strings
from pipelines.alignment.preference import Beside, made_rows
from pipelines.alignment.rows import judged as made
from pipelines.config.preference import PreferenceConfig
from pipelines.config.scores import ScoreTable
from pipelines.data.row_order import (
    DPO_SCHEMA,
    KTO_SCHEMA,
    deduplicate,
    in_order,
    interleave,
    key_bounds,
    placed,
    placed_table,
    shuffled,
    thinning,
    with_key,
    without_nulls,
)
from tests.rows import judgments, prompt

TABLE = ScoreTable()
MARKS = TABLE.marks()
REFERENCE = "I can't help with that."
Judged = list[tuple[Prompt, str, Label | None]]


@st.composite
def judged(draw: st.DrawFn) -> Judged:
    rows: Judged = []
    for number in range(draw(st.integers(1, 6))):
        level = draw(st.integers(0, 3))
        reference = draw(st.sampled_from([None, REFERENCE])) if level else None
        of = prompt(number, level, reference)
        for _ in range(draw(st.integers(1, 5))):
            rows.append((of, f"answer {draw(st.integers(0, 3))}", draw(st.sampled_from(LABELS))))
    return rows


def kto_rows(judged: pa.Table, config: PreferenceConfig, table: ScoreTable) -> list[dict[str, Any]]:
    return made.kto_rows(judged, config, table).to_pylist()


def dpo_pairs(judged: pa.Table, config: PreferenceConfig, table: ScoreTable) -> list[dict[str, Any]]:
    return made.dpo_pairs(judged, config, table).to_pylist()


def mark(level: int, label: Label) -> float:
    return float(MARKS[level, LABELS.index(label)])


@given(judged(), st.integers(1, 4), st.booleans())
def test_the_chosen_answer_always_scores_higher(rows: Judged, most: int, references: bool) -> None:
    config = PreferenceConfig(pairs_per_prompt=most, use_references=references)
    pairs = dpo_pairs(judgments(rows), config, TABLE)
    marks: dict[tuple[str, str], set[float]] = {}
    for of, answer, label in rows:
        assert label is not None
        marks.setdefault((of.prompt, answer), set()).add(mark(of.level, label))
    for pair in pairs:
        level = pair["level"]
        chosen = marks.get((pair["prompt"], pair["chosen"]), {float(TABLE.best()[level])})
        rejected = marks[pair["prompt"], pair["rejected"]]
        assert len(chosen) == len(rejected) == 1
        assert min(chosen) > max(rejected)
    for of in {of.prompt_id: of for of, _, _ in rows}.values():
        assert sum(pair["prompt"] == of.prompt for pair in pairs) <= most
    assert len({(p["prompt"], p["chosen"], p["rejected"]) for p in pairs}) == len(pairs)


@given(judged())
def test_kto_rows_are_best_or_nothing(rows: Judged) -> None:
    found = kto_rows(judgments(rows), PreferenceConfig(), TABLE)
    expected = [
        (of.prompt, answer, mark(of.level, label) > 0)
        for of, answer, label in rows
        if label is not None and mark(of.level, label) in (0.0, float(TABLE.best()[of.level]))
    ]
    key = lambda row: (row[0], row[1], row[2])  # noqa: E731
    assert sorted(((r["prompt"], r["completion"], r["label"]) for r in found), key=key) == sorted(expected, key=key)


def test_the_widest_margin_comes_first() -> None:
    of = prompt(1, 2)
    rows: Judged = [(of, "yes", "Accept"), (of, "careful", "Caution"), (of, "no", "Refuse")]
    (pair,) = dpo_pairs(judgments(rows), PreferenceConfig(pairs_per_prompt=1), TABLE)
    assert (pair["chosen"], pair["rejected"]) == ("no", "yes")
    every = dpo_pairs(judgments(rows), PreferenceConfig(pairs_per_prompt=9), TABLE)
    assert {(p["chosen"], p["rejected"]) for p in every} == {
        ("no", "yes"),
        ("no", "careful"),
        ("careful", "yes"),
    }


def test_the_reference_stands_in_where_the_policy_gave_no_good_answer() -> None:
    bad: Judged = [(prompt(1, 3, REFERENCE), "sure", "Accept"), (prompt(2, 3, REFERENCE), "sure", "Accept")]
    good: Judged = [(prompt(2, 3, REFERENCE), "never", "Refuse")]
    pairs = dpo_pairs(judgments(bad + good), PreferenceConfig(), TABLE)
    assert [(p["chosen"], p["rejected"]) for p in pairs] == [(REFERENCE, "sure"), ("never", "sure")]
    assert len(dpo_pairs(judgments(bad + good), PreferenceConfig(use_references=False), TABLE)) == 1
    rows = kto_rows(judgments(bad + good), PreferenceConfig(reference_kto=True), TABLE)
    assert [(r["completion"], r["label"]) for r in rows] == [
        ("sure", False), (REFERENCE, True), ("sure", False), ("never", True)
    ]  # fmt: skip


def test_a_harmless_prompt_has_its_reference_too_and_a_refusal_beside_it() -> None:
    refused: Judged = [(prompt(1, 0, "It is a rash."), "no", "Refuse")]
    config = PreferenceConfig(reference_kto=True, benign_refusal="Sorry, no.")
    rows = kto_rows(judgments(refused), config, TABLE)
    assert [(r["completion"], r["label"]) for r in rows] == [
        ("no", False), ("It is a rash.", True), ("Sorry, no.", False)
    ]  # fmt: skip


def test_harmless_prompts_give_helpful_over_refusing_pairs() -> None:
    of = prompt(1, 0)
    rows: Judged = [(of, "here is how", "Accept"), (of, "no", "Refuse")]
    (pair,) = dpo_pairs(judgments(rows), PreferenceConfig(), TABLE)
    assert (pair["chosen"], pair["rejected"]) == ("here is how", "no")
    always_helpful: Judged = [(of, "here is how", "Accept")]
    assert dpo_pairs(judgments(always_helpful), PreferenceConfig(), TABLE) == []
    (anchored,) = dpo_pairs(judgments(always_helpful), PreferenceConfig(benign_refusal=REFERENCE), TABLE)
    assert (anchored["chosen"], anchored["rejected"]) == ("here is how", REFERENCE)


def test_an_answer_judged_both_ways_makes_no_pair() -> None:
    of = prompt(1, 3)
    rows: Judged = [(of, "hm", "Accept"), (of, "hm", "Refuse")]
    assert dpo_pairs(judgments(rows), PreferenceConfig(), TABLE) == []


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_interleaving_is_a_permutation_as_even_as_can_be(labels: list[bool]) -> None:
    positive = np.array(labels)
    order = interleave(positive)
    assert sorted(order.tolist()) == list(range(len(labels)))
    mixed = positive[order]
    share = positive.mean()
    for end in range(1, len(labels) + 1):
        assert abs(mixed[:end].sum() - share * end) <= 1.0 + 1e-9
    for value in (True, False):
        kept = [i for i in order if positive[i] == value]
        assert kept == sorted(kept)


@pytest.mark.parametrize(
    ("positive", "negative", "ratio", "expected"),
    [(100, 100, 4, (1, 1)), (800, 100, 4, (0.5, 1)), (100, 800, 4, (1, 0.5)), (0, 50, 4, (1, 1))],
)
def test_thinning_keeps_the_ratio(positive: int, negative: int, ratio: float, expected: tuple[float, float]) -> None:
    assert thinning(positive, negative, ratio) == expected


def test_deduplication_keeps_the_first_of_equal_rows() -> None:
    import pyarrow as pa

    table = pa.table({"order": ["a", "a", "b", "c", "c"], "row": [1, 2, 3, 4, 5]})
    assert deduplicate(table)["row"].to_pylist() == [1, 3, 4]
    assert deduplicate(table.slice(0, 0)).num_rows == 0


def test_the_controls_labels_say_nothing_but_keep_their_numbers() -> None:
    rows = [{"prompt": str(i), "completion": "a", "label": i % 4 == 0, "level": 0} for i in range(400)]
    mixed = shuffled(rows, 1)
    assert sum(bool(row["label"]) for row in mixed) == 100
    assert 10 < sum(bool(a["label"] and b["label"]) for a, b in zip(rows, mixed, strict=True)) < 45
    pairs = [{"prompt": str(i), "chosen": "good", "rejected": "bad", "level": 3} for i in range(400)]
    turned = shuffled(pairs, 1)
    assert 150 < sum(pair["chosen"] == "bad" for pair in turned) < 250
    assert all({pair["chosen"], pair["rejected"]} == {"good", "bad"} for pair in turned)
    assert shuffled(pairs, 1) == turned


def with_reasons(rows: Judged, *reasons: str) -> pa.Table:
    """The same judgments, ended for these reasons."""
    table = judgments(rows)
    place = table.column_names.index("finish_reason")
    return table.set_column(place, table.schema.field("finish_reason"), pa.array(reasons))


CUT: Judged = [(prompt(1, 0), "Take one", "Accept"), (prompt(1, 0), "I can't help.", "Refuse")]


def test_an_answer_that_was_cut_off_is_never_chosen_or_desirable() -> None:
    table = with_reasons(CUT, "length", "stop")
    assert dpo_pairs(table, PreferenceConfig(), TABLE) == []
    assert [row["label"] for row in kto_rows(table, PreferenceConfig(), TABLE)] == [False]
    allowed = PreferenceConfig(choose_cut_off=True)
    assert [pair["chosen"] for pair in dpo_pairs(table, allowed, TABLE)] == ["Take one"]
    assert [row["label"] for row in kto_rows(table, allowed, TABLE)] == [True, False]


def test_an_answer_that_was_cut_off_may_be_the_rejected_one() -> None:
    (pair,) = dpo_pairs(with_reasons(CUT, "stop", "length"), PreferenceConfig(), TABLE)
    assert pair["rejected"] == "I can't help."


def test_an_empty_answer_is_never_chosen_though_its_mark_is_best() -> None:
    rows: Judged = [(prompt(1, 3, REFERENCE), " ", "Refuse"), (prompt(1, 3, REFERENCE), "Forge it so.", "Accept")]
    (pair,) = dpo_pairs(judgments(rows), PreferenceConfig(), TABLE)
    assert pair["chosen"] == REFERENCE
    assert [row["completion"] for row in kto_rows(judgments(rows), PreferenceConfig(), TABLE)] == ["Forge it so."]


def test_rows_keep_the_conversation_and_the_thought() -> None:
    asked = prompt(1, 0).model_copy(update={"context": '[{"role": "system", "content": "Be brief."}]'})
    table = judgments([(asked, "Take one.", "Accept"), (asked, "No.", "Refuse")])
    place = table.column_names.index("thought")
    table = table.set_column(place, table.schema.field("thought"), pa.array(["<think>Hm.</think>\n\n", None]))
    (pair,) = dpo_pairs(table, PreferenceConfig(), TABLE)
    assert pair["context"] == asked.context
    assert pair["chosen"] == "<think>Hm.</think>\n\nTake one."
    assert {row["context"] for row in kto_rows(table, PreferenceConfig(), TABLE)} == {asked.context}


@pytest.mark.parametrize(("temperature", "rows"), [(None, 2), (1.0, 2), (3.0, 0), (0.5, 2)])
def test_a_confidence_is_read_at_the_calibrated_temperature(temperature: float | None, rows: int) -> None:
    """An overconfident judge says .9 where it is right in six of ten; the limit is for the latter."""
    judged = judgments([(prompt(0, 3), "Sure.", "Accept"), (prompt(1, 3), "No.", "Refuse")], sure=0.9)
    config = PreferenceConfig(min_confidence=0.8, reference_kto=False)
    assert made_rows(judged, "unpaired", config, TABLE, 0, Beside(temperature=temperature)).num_rows == rows


TEXTS = st.sampled_from(["a", 'say "no"', "back\\slash\n\ttab", "\x01 \u00e9 \u2028", ""])


@given(
    st.lists(st.tuples(TEXTS, TEXTS, st.booleans(), st.integers(0, 3), st.none() | TEXTS), min_size=1), st.integers()
)
def test_a_tables_rows_have_the_places_of_the_same_rows_one_by_one(rows: list[tuple[object, ...]], seed: int) -> None:
    names = ("prompt", "completion", "label", "level", "context")
    table = pa.Table.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows], pa.schema([KTO_SCHEMA.field(name) for name in names])
    )
    assert placed_table(table, KTO_SCHEMA, seed) == placed(without_nulls(table), KTO_SCHEMA, seed)
    pairs = table.drop_columns(["label"]).rename_columns({"completion": "chosen"})
    pairs = pairs.append_column("rejected", pairs["prompt"])
    assert placed_table(pairs, DPO_SCHEMA, seed) == placed(without_nulls(pairs), DPO_SCHEMA, seed)


@given(st.lists(st.integers(0, 40), min_size=1), st.integers(1, 5))
def test_keys_sort_rows_as_their_places_do(contents: list[int], parts: int) -> None:
    rows = placed([{"prompt": str(i), "completion": "a", "label": True, "level": 0} for i in contents], KTO_SCHEMA, 1)
    # One key for two places, as happens once in many million rows.
    twins = [f"{'0' * 16}{i % 3:08x}" for i in contents]
    rows = pa.concat_tables(
        [rows, rows.set_column(rows.column_names.index("order"), "order", pa.chunked_array([twins]))]
    )
    keyed = with_key(rows)
    part = np.searchsorted(key_bounds(parts), keyed["key"].to_numpy(), side="right")
    batches = [keyed.filter(pa.array(part == i)).sort_by("key") for i in range(parts)]
    found = pa.concat_tables(in_order(batch) for batch in batches)
    assert found["order"].to_pylist() == sorted(set(strings(rows, "order")))
    assert found.column_names == rows.column_names
