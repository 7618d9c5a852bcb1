"""An engine that Ray builds anew is tried again, so often and no oftener."""

from __future__ import annotations

import pytest

from actors.engine.faults.restart import PAUSES_S, again_where_rebuilt, built_anew
from actors.errors import SalusError


class Device:
    """Has no memory for the first engines that are built on it."""

    def __init__(self, fails: int) -> None:
        self.fails = fails
        self.pauses: list[float] = []
        self.built = 0

    def build(self) -> str:
        self.built += 1
        if self.built <= self.fails:
            raise RuntimeError("CUDA error: out of memory")
        return "an engine"

    def engine(self, rebuilt: bool) -> str:
        return again_where_rebuilt(self.build, lambda: rebuilt, self.pauses.append)


def test_the_first_process_of_an_actor_says_at_once_what_is_wrong() -> None:
    device = Device(fails=1)
    with pytest.raises(RuntimeError, match="out of memory"):
        device.engine(rebuilt=False)
    assert device.built == 1 and device.pauses == []


@pytest.mark.parametrize("fails", [0, 1, len(PAUSES_S)])
def test_one_that_is_built_anew_waits_for_memory(fails: int) -> None:
    device = Device(fails)
    assert device.engine(rebuilt=True) == "an engine"
    assert device.pauses == list(PAUSES_S[:fails])


def test_at_last_it_gives_up_in_a_sentence() -> None:
    device = Device(fails=100)
    with pytest.raises(SalusError, match=r"6 times in 60 s; the last time: CUDA error: out of memory"):
        device.engine(rebuilt=True)
    assert device.built == len(PAUSES_S) + 1


def test_what_a_failed_try_built_is_let_go_before_the_next() -> None:
    class Weights:
        alive = 0

        def __init__(self) -> None:
            assert Weights.alive == 0
            Weights.alive += 1

        def __del__(self) -> None:
            Weights.alive -= 1

    failures = ["out of memory"]

    def build() -> Weights:
        weights = Weights()
        if failures:
            raise RuntimeError(failures.pop())
        return weights

    assert again_where_rebuilt(build, lambda: True, lambda _: None) is not None


def test_a_process_without_ray_is_no_actor() -> None:
    assert built_anew() is False
