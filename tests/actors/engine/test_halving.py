"""What does not fit at once is done in parts; what fails for another reason is not tried again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engine.faults.halving import in_batches_that_fit
from actors.errors import SalusError


class Device:
    """Has room for so many items at once, and must be freed after it ran out."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.full = False
        self.runs: list[int] = []

    def double(self, items: Sequence[int]) -> list[int]:
        assert not self.full
        self.runs.append(len(items))
        if len(items) > self.room:
            self.full = True
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return [2 * item for item in items]

    def free(self) -> None:
        self.full = False


@given(st.lists(st.integers(), max_size=40), st.integers(1, 40))
def test_the_results_are_those_of_one_run(items: list[int], room: int) -> None:
    device = Device(room)
    assert in_batches_that_fit(device.double, items, device.free, "prompts") == [2 * item for item in items]
    if len(items) <= room:
        assert device.runs == [len(items)]


def test_what_does_not_fit_alone_is_said_in_one_sentence() -> None:
    device = Device(0)
    with pytest.raises(SalusError, match=r"out of memory over one of the prompts alone .*lower engine\.max_model_len"):
        in_batches_that_fit(device.double, [1, 2], device.free, "prompts")
    assert not device.full


@pytest.mark.parametrize("fault", [ValueError("can't allocate memory"), RuntimeError("the weights do not fit")])
def test_another_fault_is_not_tried_again(fault: Exception) -> None:
    runs = []

    def fail(items: Sequence[int]) -> list[int]:
        runs.append(len(items))
        raise fault

    with pytest.raises(type(fault)):
        in_batches_that_fit(fail, [1, 2, 3], lambda: None, "prompts")
    assert runs == [3]
