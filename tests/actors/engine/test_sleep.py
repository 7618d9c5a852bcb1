"""The order in which a vLLM engine sleeps and wakes, on a stand-in for `vllm.LLM`; a GPU alone can do it in earnest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.contract.records import PolicyRef
from actors.engine import vllm as engines
from actors.engine.faults.death import CoreWatch
from actors.engine.model_files import engine_folder
from actors.engine.vllm import VllmEngine, close_engines, rest_engines
from tests.tiny_model import make_tiny_model


class Told:
    """Notes what an engine asks of `vllm.LLM`."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.llm_engine = self
        self.engine_core = self

    def sleep(self, level: int) -> None:
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags: list[str]) -> None:
        self.calls.append(f"wake {' '.join(tags)}")

    def collective_rpc(self, name: str, kwargs: dict[str, str]) -> None:
        self.calls.append((name, kwargs["weights_path"]))

    def reset_prefix_cache(self) -> None:
        self.calls.append("reset")

    def generate(self, prompts: list[Any], params: list[Any], use_tqdm: bool) -> list[Any]:
        self.calls.append("generate")
        return []

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def engine(policy: PolicyRef, can_sleep: bool) -> tuple[VllmEngine, Told]:
    """An engine as its `__init__` leaves it, but for vLLM."""
    made, told = VllmEngine.__new__(VllmEngine), Told()
    watch = CoreWatch(made, dead=None)
    vars(made).update(_llm=told, _loaded=policy, _asleep=False, can_sleep=can_sleep, _watch=watch)
    engines._HERE.add(made)
    return made, told


@pytest.fixture
def policies(tmp_path: Path) -> list[PolicyRef]:
    for name in ("one", "two"):
        make_tiny_model(tmp_path / name)
    return [PolicyRef(version=name, path=str(tmp_path / name)) for name in ("one", "two")]


def read(policy: PolicyRef) -> tuple[str, str]:
    return ("reload_weights", str(engine_folder(Path(policy.path))))


def test_the_next_policy_is_read_between_the_weights_and_the_cache(policies: list[PolicyRef]) -> None:
    one, two = policies
    made, told = engine(one, can_sleep=True)
    assert rest_engines()
    made.load(two)
    assert told.calls == ["sleep 2", "wake weights", read(two), "wake kv_cache", "reset"]
    # Awake, it is swapped as ever.
    made.load(one)
    assert told.calls[5:] == [read(one), "reset"]


def test_what_is_asked_without_another_policy_wakes_it_with_its_own(policies: list[PolicyRef]) -> None:
    one, _ = policies
    made, told = engine(one, can_sleep=True)
    made.sleep()
    made.load(one)
    assert told.calls == ["sleep 2"]
    made._run([], [])
    assert told.calls[1:] == ["wake weights", read(one), "wake kv_cache", "reset", "generate"]


def test_one_that_cannot_sleep_keeps_all_of_a_process_awake(policies: list[PolicyRef]) -> None:
    one, _ = policies
    kept = [engine(one, can_sleep=True), engine(one, can_sleep=False)]
    assert not rest_engines()
    assert [told.calls for _, told in kept] == [[], []]
    close_engines()
    assert [told.calls for _, told in kept] == [["shutdown"], ["shutdown"]]
