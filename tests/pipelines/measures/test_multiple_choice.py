"""Multiple-choice accuracy by log-likelihood: by hand, against scikit-learn, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from actors.errors import SalusError
from pipelines.measures.multiple_choice import MultipleChoice, OptionLengths, multiple_choice

RAGGED = [[-1.0, -2.0, -3.0], [-5.0, -4.0], [-2.0, -9.0, -1.0, -3.0]]
NAN = float("nan")


def value(found: MultipleChoice) -> float:
    assert found.accuracy is not None
    return found.accuracy.value


def test_by_hand() -> None:
    found = multiple_choice(RAGGED, [0, 0, 2])
    assert value(found) == pytest.approx(2 / 3)
    assert found.accuracy is not None and found.accuracy.n == found.n == 3
    assert found.chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 4) / 3)
    assert (found.ties, found.normalised_by) == (0, None)
    assert MultipleChoice.model_validate_json(found.model_dump_json()) == found


def test_a_padded_array_is_the_same() -> None:
    padded = np.array([[-1.0, -2.0, -3.0, NAN], [-5.0, -4.0, NAN, NAN], [-2.0, -9.0, -1.0, -3.0]])
    assert multiple_choice(padded, np.array([0, 0, 2])) == multiple_choice(RAGGED, [0, 0, 2])


def test_length_takes_the_advantage_from_short_options() -> None:
    likelihoods = [[-4.0, -6.0], [-3.0, -6.0]]
    assert value(multiple_choice(likelihoods, [1, 1])) == 0
    # -2 and -1.5 a token; -3 and -1.5.
    lengths = OptionLengths(unit="tokens", lengths=((2, 4), (1, 4)))
    found = multiple_choice(likelihoods, [1, 1], lengths)
    assert (value(found), found.normalised_by) == (1.0, "tokens")


def test_a_tie_earns_its_share() -> None:
    # A model that cannot tell the options apart scores what guessing does, wherever the right one stands.
    found = multiple_choice([[-1.0, -1.0, -1.0, -1.0]] * 5, [0, 1, 2, 3, 0])
    assert (value(found), found.chance, found.ties) == (0.25, 0.25, 5)
    half = multiple_choice([[-1.0, -1.0, -2.0]], [1])
    assert value(half) == 0.5


def test_impossible_options_are_never_chosen() -> None:
    assert value(multiple_choice([[-np.inf, -50.0]], [1])) == 1


def test_no_questions() -> None:
    found = multiple_choice([], np.array([], dtype=np.int64))
    assert (found.accuracy, found.chance, found.n) == (None, None, 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 10**6))
def test_as_scikit_learn_counts_it(questions: int, options: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, answers = rng.normal(size=(questions, options)), rng.integers(0, options, questions)
    expected = accuracy_score(answers, scores.argmax(axis=1))
    assert value(multiple_choice(scores, answers)) == pytest.approx(expected)
    ragged = [row.tolist() for row in scores]
    assert value(multiple_choice(ragged, answers)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "answers", "words"),
    [
        ([[-1.0, -2.0]], [2], "Question 0 .* no option 2"),
        ([[-1.0, -2.0]], [-1], "no option -1"),
        ([[-1.0, -2.0, -3.0], [-1.0, -2.0]], [0, 2], "Question 1 .* no option 2"),
        ([[-1.0]], [0], "fewer than two options"),
        ([[-1.0, NAN]], [0], "is NaN"),
        ([[-1.0, np.inf]], [0], r"\+inf"),
        ([[-1.0, -2.0]], [0, 1], "1 questions"),
        ([[-1.0, -2.0]], [0.5], "type float64"),
        (np.zeros(3), [0, 0, 0], r"shape \(3,\)"),
    ],
)
def test_bad_input_is_one_sentence(scores: Any, answers: Any, words: str) -> None:
    with pytest.raises(SalusError, match=words):
        multiple_choice(scores, answers)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [(((1, 2),), "do not fit"), (((1, 2, 3), (1, 2)), "do not fit"), (((1, 2), (0, 4)), "0 characters long")],
)
def test_lengths_that_do_not_fit(lengths: tuple[tuple[int, ...], ...], words: str) -> None:
    with pytest.raises(SalusError, match=words):
        multiple_choice([[-1.0, -2.0], [-1.0, -2.0]], [0, 0], OptionLengths(unit="characters", lengths=lengths))
