"""Items -> rows, as properties: one voice per caller, the majority's word, a bounded share, callers in turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given
from pydantic import ValidationError

from actors.contract.conversation import Turn, conversation_json
from actors.contract.records import ROW_NAMES
from actors.serve.feedback.records import Verdict as Word
from pipelines.config.preference import FeedbackRowsConfig
from pipelines.data.row_order import DPO_SCHEMA, KTO_SCHEMA
from pipelines.feedback.items import ITEM_SCHEMA
from pipelines.feedback.rows import (
    MajorityVerdict,
    feedback_table,
    in_turn,
    kto_verdicts,
    most_rows,
    pair_verdicts,
    repeated,
)
from tests.actors.serve.feedback.given import NOON, said

CONFIG = FeedbackRowsConfig(path="x", max_share=0.5)
MANY = 10_000


def item(
    number: int,
    verdict: Word = "down",
    *,
    caller: str = "ward",
    prompt: str = "p",
    answer: str = "a",
    correction: str | None = None,
    before: Sequence[Turn] = (),
) -> dict[str, Any]:
    of = said(f"id-{number}", verdict, correction, caller=caller)
    row = of.model_dump() | {"at": NOON + timedelta(minutes=number)}
    return row | {
        "prompt": prompt,
        "answer": answer,
        "conversation": conversation_json([*before, Turn(role="user", content=prompt)]),
        "finish_reason": "stop",
        "origin": "captured",
    }


def table(*items: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(items), schema=ITEM_SCHEMA)


def kto(*items: dict[str, Any], config: FeedbackRowsConfig = CONFIG) -> dict[tuple[str, ...], bool]:
    return {verdict.question: verdict.yes for verdict in kto_verdicts(table(*items), config, seed=1)}


def test_thumbs_are_labels_and_a_correction_is_a_pair_and_a_good_answer() -> None:
    items = table(
        item(1, "up", answer="good"),
        item(2, "down", answer="bad"),
        item(3, "corrected", answer="so so", correction="better"),
    )
    rows = feedback_table(items, "unpaired", CONFIG, 1, MANY)
    assert rows.schema == KTO_SCHEMA
    assert {(r["completion"], r["label"]) for r in rows.to_pylist()} == {
        ("good", True),
        ("bad", False),
        ("better", True),
    }
    [pair] = feedback_table(items, "pairs", CONFIG, 1, MANY).to_pylist()
    assert (pair["prompt"], pair["chosen"], pair["rejected"], pair["level"]) == ("p", "better", "so so", None)


def test_the_majority_of_callers_counts_and_ties_say_nothing() -> None:
    two_of_three = [item(i, "up" if i else "down", caller=f"c{i}") for i in range(3)]
    assert kto(*two_of_three) == {("p", "a"): True}
    assert kto(*two_of_three[:2]) == {}
    # One caller has one voice, and it is the last one, however often it was raised.
    loud = [item(i, "down", caller="loud") for i in range(50)]
    assert kto(*loud, item(60, "up", caller="c1"), item(61, "up", caller="c2")) == {("p", "a"): True}
    assert kto(item(1, "up"), item(2, "down")) == {("p", "a"): False}


def test_a_correction_is_a_voice_for_its_own_words() -> None:
    same = item(1, "corrected", caller="c1", answer="bad", correction="a")
    assert kto(same, item(2, "down", caller="c2", answer="a")) == {}
    assert kto(same, item(2, "up", caller="c2", answer="a")) == {("p", "a"): True}


def test_corrections_against_each_other_go_by_majority() -> None:
    one = item(1, "corrected", caller="c1", answer="x", correction="y")
    other = item(2, "corrected", caller="c2", answer="y", correction="x")
    third = item(3, "corrected", caller="c3", answer="y", correction="x")
    assert pair_verdicts(table(one, other), CONFIG, 1) == []
    [verdict] = pair_verdicts(table(one, other, third), CONFIG, 1)
    assert verdict == MajorityVerdict(("p", "x", "y"), True, ("c2", "c3"))
    assert pair_verdicts(table(item(1, "corrected", answer="x", correction="x")), CONFIG, 1) == []


def test_a_flood_of_one_caller_has_no_more_than_its_turns() -> None:
    flood = [item(i, "up", caller="flood", prompt=f"f{i}") for i in range(500)]
    others = [item(1000 + i, "down", caller=f"c{i}", prompt=f"o{i}") for i in range(9)]
    config = CONFIG.model_copy(update={"max_per_caller": 20, "max_share": 0.1})
    assert len(kto(*flood, config=config)) == 20
    rows = feedback_table(table(*flood, *others), "unpaired", config, 1, own_rows=90).to_pylist()
    assert len(rows) == 10
    assert sum(row["prompt"].startswith("f") for row in rows) == 1


@given(st.integers(0, 500), st.floats(0.01, 0.95))
def test_the_share_is_never_more_than_asked_and_never_a_row_less(own: int, share: float) -> None:
    most = most_rows(own, share)
    assert most <= share * (own + most) + 1e-9
    assert most + 1 > share * (own + most + 1) - 1e-6


@given(st.integers(0, 30), st.floats(0, 4), st.integers(0, 99))
def test_weights_are_whole_copies_and_a_share_of_one_more(count: int, weight: float, seed: int) -> None:
    rows = [{"prompt": f"{i}", "label": True} for i in range(count)]
    found = list(repeated(rows, weight, seed))
    times = Counter(row["prompt"] for row in found)
    whole = int(weight)
    assert set(times.values()) <= {whole, whole + 1} and (not whole or len(times) == count)
    assert len({(row["prompt"], row["copy"]) for row in found}) == len(found)
    assert found == list(repeated(rows, weight, seed))
    # All once before any twice.
    copies = [row["copy"] for row in found]
    assert copies == sorted(copies)


def test_a_fraction_is_a_share_of_the_rows() -> None:
    rows = [{"prompt": f"{i}"} for i in range(1000)]
    assert 700 < len(list(repeated(rows, 0.75, 3))) < 800
    assert 1200 < len(list(repeated(rows, 1.25, 3))) < 1300


VERDICTS = st.lists(
    st.builds(
        lambda i, v, c, p, a: item(
            i, v, caller=c, prompt=p, answer=a, correction="better" if v == "corrected" else None
        ),
        st.integers(0, 10_000),
        st.sampled_from(["up", "down", "corrected"]),
        st.sampled_from(["c1", "c2", "c3"]),
        st.sampled_from(["p1", "p2"]),
        st.sampled_from(["a1", "a2"]),
    ),
    max_size=25,
    unique_by=lambda i: i["feedback_id"],
)


@given(VERDICTS, st.randoms(), st.sampled_from(["unpaired", "pairs"]), st.integers(0, 40))
def test_rows_depend_on_items_and_seed_alone_and_contradict_nobody(
    items: list[dict[str, Any]], draw: Any, kind: Any, own: int
) -> None:
    mixed = list(items)
    draw.shuffle(mixed)
    rows = feedback_table(table(*items), kind, CONFIG, 7, own)
    assert rows == feedback_table(table(*mixed), kind, CONFIG, 7, own)
    assert rows.schema == (KTO_SCHEMA if kind == "unpaired" else DPO_SCHEMA)
    assert rows.num_rows <= max(own, 0)
    assert len(set(rows["order"].to_pylist())) == rows.num_rows
    if kind == "unpaired":
        labels = Counter((row["prompt"], row["completion"]) for row in rows.to_pylist())
        assert set(labels.values()) <= {1}
    for row in rows.to_pylist():
        assert kind == "unpaired" or row["chosen"] != row["rejected"]


def test_turns_go_round_the_callers() -> None:
    verdicts = [
        MajorityVerdict(("p", f"{c}{i}"), True, (c,)) for c, n in (("a", 6), ("b", 2), ("c", 1)) for i in range(n)
    ]
    order = "".join(verdict.callers[0] for verdict in in_turn(verdicts, seed=4))
    assert sorted(order[:3]) == ["a", "b", "c"] and sorted(order[3:5]) == ["a", "b"] and order[5:] == "aaaa"


def test_the_control_says_nothing() -> None:
    items = table(*(item(i, "up" if i % 2 else "down", prompt=f"p{i}") for i in range(100)))
    plain = feedback_table(items, "unpaired", CONFIG, 1, MANY)
    control = feedback_table(items, "unpaired", CONFIG, 1, MANY, control=True)
    by_prompt = [{row["prompt"]: row["label"] for row in rows.to_pylist()} for rows in (plain, control)]
    assert 25 < sum(by_prompt[0][p] == by_prompt[1][p] for p in by_prompt[0]) < 75


@pytest.mark.parametrize(
    "wrong", [{"max_share": 1.0}, {"max_share": 0}, {"kto_weight": -1}, {"path": ""}, {"pth": "x"}]
)
def test_settings_have_bounds(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FeedbackRowsConfig.model_validate({"path": "x"} | wrong)


BEFORE = (Turn(role="system", content="Be brief."),)


def test_rows_keep_the_conversation_that_the_answer_was_given_in() -> None:
    items = table(
        item(1, "up", before=BEFORE), item(2, "corrected", answer="so so", correction="better", before=BEFORE)
    )
    for kind in ROW_NAMES:
        rows = feedback_table(items, kind, CONFIG, 1, MANY).to_pylist()
        assert {row["context"] for row in rows} == {conversation_json(BEFORE)}
        ignoring = CONFIG.model_copy(update={"other_turns": "ignore"})
        assert {row["context"] for row in feedback_table(items, kind, ignoring, 1, MANY).to_pylist()} == {None}


def test_the_same_question_in_two_conversations_is_two_questions() -> None:
    assert kto(item(1, "up", before=BEFORE), item(2, "down", caller="other")) == {
        (conversation_json(BEFORE), "p", "a"): True,
        ("p", "a"): False,
    }
