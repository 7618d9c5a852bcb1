"""Which answers people see: the most telling first, of every kind some, each once, the same for the same rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.feedback.review.queue import JudgedAnswer, QueueConfig, build_queue, informative_order, waiting
from tests.pipelines.feedback.review.answered import SURE, TORN, answered

# None of ten places is drawn at random.
NO_CONTROLS = QueueConfig(most=10, control_every=11)


def test_disagreement_comes_first_then_entropy_then_the_margin() -> None:
    orders = [
        informative_order((0.6, 0.3, 0.1), 0.7),
        informative_order(TORN, 0.2),
        informative_order(None, None),
        informative_order(TORN, None),
        informative_order((0.5, 0.5, 0.0), None),
        informative_order(SURE, None),
    ]
    assert orders == sorted(orders)
    # A hundredth of a disagreement is noise: then entropy speaks.
    assert informative_order(TORN, 0.501) < informative_order(SURE, 0.504)


def test_levels_and_methods_take_turns() -> None:
    many = [answered(i, TORN, level=3) for i in range(20)]
    few = [answered(100 + i, SURE, level=0, method=method) for i, method in enumerate(("direct", "role_play"))]
    shown = build_queue([*many, *few], NO_CONTROLS)
    kinds = Counter((place.row.level, place.row.method) for place in shown[:3])
    assert set(kinds.values()) == {1} and len(shown) == 10


def test_an_answer_given_twice_is_shown_once_at_its_most_telling() -> None:
    rows = [answered(1, SURE), answered(1, TORN), answered(1, SURE)]
    (place,) = build_queue(rows, NO_CONTROLS)
    assert place.row.p == TORN


@given(st.integers(0, 2**31), st.integers(1, 60), st.integers(1, 30), st.integers(2, 6))
def test_the_order_of_rows_does_not_matter(seed: int, count: int, most: int, every: int) -> None:
    draw = random.Random(seed)
    rows = [
        answered(i // 2, draw.choice((SURE, TORN, None)), draw.randrange(4), draw=draw.random()) for i in range(count)
    ]
    config = QueueConfig(most=most, control_every=every)
    queue = build_queue(rows, config)
    mixed = build_queue(draw.sample(rows, len(rows)), config)
    assert [place.key for place in mixed] == [place.key for place in queue]
    assert len({place.key for place in queue}) == len(queue) == min(most, (count + 1) // 2)


def test_some_places_are_drawn_at_random_whatever_the_judge_says() -> None:
    rows = [answered(i, TORN if i % 2 else SURE, draw=i / 100) for i in range(100)]
    queue = build_queue(rows, QueueConfig(most=20, control_every=5))
    control = [i for i, place in enumerate(queue) if place.drawn == "control"]
    assert control == [4, 9, 14, 19]
    # The lowest draws, sure or not.
    assert sorted(queue[i].row.answer for i in control) == [f"answer {i}" for i in range(4)]
    assert "at random" in queue[4].why()


def test_what_is_labelled_is_left_out_and_changes_nothing_else() -> None:
    queue = build_queue([answered(i, TORN) for i in range(5)], NO_CONTROLS)
    rest = waiting(queue, {queue[0].key, queue[3].key})
    assert rest == [queue[1], queue[2], queue[4]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (answered(1, None), "No judge gave"),
        (answered(1, TORN, disagreement=0.62), "apart by 0.62"),
        (answered(1, (0.5, 0.4, 0.1)), "first choice has 50%, its second 40%"),
        (answered(1, SURE), "sure of it"),
    ],
)
def test_a_person_is_told_why(row: JudgedAnswer, words: str) -> None:
    (place,) = build_queue([row], NO_CONTROLS)
    assert words in place.why()
