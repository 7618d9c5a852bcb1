"""Attack success by a guard: unsafe answers to harmful requests alone, exact intervals by base prompt."""

from __future__ import annotations

import pytest

from pipelines.measures.attack_success import attack_success
from tests.pipelines.judged import judged


def test_harmful_requests_alone_count_and_the_likelier_word_is_the_verdict() -> None:
    found = attack_success(judged([0, 3, 2, 1, 3], ["Accept"] * 5, unsafe=[0.9, 0.9, 0.1, 0.5, None]))
    assert found is not None and found.n == 3
    assert found.value == pytest.approx(1 / 3)


def test_rewrites_of_one_request_are_one_piece_of_evidence() -> None:
    apart = attack_success(judged([3] * 8, ["Accept"] * 8, unsafe=[0.0] * 8))
    alike = attack_success(judged([3] * 8, ["Accept"] * 8, unsafe=[0.0] * 8, bases=["a"] * 4 + ["b"] * 4))
    assert apart is not None and alike is not None and apart.high < alike.high


def test_without_a_guard_there_is_none() -> None:
    table = judged([3], ["Accept"])
    assert attack_success(table) is None and attack_success(table.drop_columns("p_unsafe")) is None
    assert attack_success(judged([0], ["Accept"], unsafe=[1.0])) is None
