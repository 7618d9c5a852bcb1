"""The canary against the other replicas: what is a fault, and what is too little to tell."""

from __future__ import annotations

import random

import pytest

from actors.serve.config import CanaryConfig
from actors.serve.replica.canary import Seen, errors_fault, pace_fault, verdict

CONFIG = CanaryConfig(min_answers=10, max_error_share=0.05, max_slowdown=2)


def seen(answers: int, seconds: float = 0.1, errors: int = 0, replicas: int = 1) -> Seen:
    return Seen(replicas=replicas, seconds=(seconds,) * answers, errors=errors)


@pytest.mark.parametrize(("share", "of", "first"), [(0.1, 10, 1), (0.1, 11, 2), (0.01, 2, 1), (0.5, 3, 2), (0.7, 2, 2)])
def test_a_share_is_rounded_up(share: float, of: int, first: int) -> None:
    assert CanaryConfig(share=share).replicas(of) == first


def test_errors_count_beyond_those_of_the_others() -> None:
    assert errors_fault(CONFIG, seen(95, errors=5), seen(100)) is None
    assert errors_fault(CONFIG, seen(90, errors=10), seen(100)) == (
        "10 of 100 requests failed at the canary, 0 of 100 at the other replicas (allowed: 5.0%)"
    )
    # What fails everywhere is not the new policy's fault.
    assert errors_fault(CONFIG, seen(90, errors=10), seen(90, errors=10)) is None


def test_where_nobody_asks_the_others_one_failure_is_too_many() -> None:
    assert errors_fault(CONFIG, seen(0, errors=1), seen(0)) is not None
    assert errors_fault(CONFIG, seen(0), seen(0)) is None


def test_a_request_that_fails_by_its_own_fault_does_not_end_a_canary() -> None:
    # Of ten replicas one is the canary: whichever a request meets, it fails there.
    assert errors_fault(CONFIG, seen(9, errors=1), seen(90)) is None
    assert errors_fault(CONFIG, seen(10, errors=2), seen(90, errors=3)) is None
    assert errors_fault(CONFIG, seen(10, errors=5), seen(90, errors=40)) is None
    draw = random.Random(0)
    ended = 0
    for _ in range(100):
        # Half of all requests are bad, and are looked at after each; their sender needs the worst moment but once.
        counts = {(first, bad): 0 for first in (True, False) for bad in (True, False)}
        for number in range(200):
            counts[draw.random() < 0.1, number % 2 == 0] += 1
            canary = seen(counts[True, False], errors=counts[True, True])
            others = seen(counts[False, False], errors=counts[False, True])
            if canary.asked >= 20 and errors_fault(CONFIG, canary, others, early=True):
                ended += 1
                break
    assert ended <= 1


def test_a_policy_that_fails_more_often_than_chance_does_is_found() -> None:
    assert errors_fault(CONFIG, seen(15, errors=5), seen(20)) is not None
    assert errors_fault(CONFIG, seen(10, errors=10), seen(90, errors=10)) is not None
    # While it goes on, as soon as there is no doubt.
    assert errors_fault(CONFIG, seen(15, errors=5), seen(20), early=True) is None
    assert errors_fault(CONFIG, seen(17, errors=3), seen(180), early=True) is not None
    assert errors_fault(CONFIG, seen(0, errors=4), seen(40), early=True) is not None


def test_answers_that_take_too_long() -> None:
    assert pace_fault(CONFIG, seen(20, 0.2), seen(20, 0.1)) is None
    assert pace_fault(CONFIG, seen(20, 0.21), seen(20, 0.1)) == (
        "the canary's median answer took 0.21 s, the other replicas' 0.1 s (allowed: 2 times)"
    )


def test_too_few_answers_are_no_fault_and_say_so() -> None:
    few = seen(3, 9.0)
    assert pace_fault(CONFIG, few, seen(3)) is None
    assert pace_fault(CONFIG, seen(20, 9.0), seen(9)) is None
    assert verdict(CONFIG, few, seen(3)) == (
        "The canary answered 3 requests, fewer than the 10 of min_answers: too few to compare."
    )
    assert verdict(CONFIG, seen(20, errors=1), seen(30)) == (
        "The canary answered 21 requests, 1 with an error; the other replicas 30, 0 with an error."
    )


def test_a_canary_that_hangs_is_told_from_one_that_nobody_asks() -> None:
    # Three others, of which one canary's share would be 20 answers.
    others = seen(60, replicas=3)
    assert (
        pace_fault(CONFIG, seen(1), others) == "the canary answered 1 requests, and as many other replicas 20 meanwhile"
    )
    assert pace_fault(CONFIG, seen(1), seen(57, replicas=3)) is None
