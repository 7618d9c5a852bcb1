"""Live answers for tests, an engine that says what it is told, and challengers that do as they are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.contract.conversation import Turn
from actors.contract.records import PolicyRef
from actors.engine.port import Completion, Continuation, Sampling
from actors.serve.shadow.records import LiveAnswer, Taken
from tests.actors.serve.feedback.given import NOON
from tests.tiny_model import tiny_tokenizer


def live(answer_id: str = "chatcmpl-1", prompt: str = "How do I store insulin?", **more: Any) -> LiveAnswer:
    given: dict[str, Any] = {
        "policy": "c1-dpo",
        "turns": (Turn(role="user", content=prompt),),
        "answer": "In the fridge.",
        "finish_reason": "stop",
        "at": NOON,
        "max_tokens": 8,
        "temperature": 0.0,
    }
    return LiveAnswer(answer_id=answer_id, **given | more)


class SpokenEngine:
    """An engine of the port with a real tokenizer and no model: it says `text`; it fails, or waits, where told to."""

    def __init__(self, text: str = "Ask Dr Lind.", max_model_len: int = 128) -> None:
        self.tokenizer: Any = tiny_tokenizer()
        self.max_model_len = max_model_len
        self.text = text
        self.faults: list[Exception] = []
        self.go = threading.Event()
        self.go.set()
        # What it was asked, as text, with which sampling, in one entry a run.
        self.runs: list[tuple[Sampling, list[str]]] = []

    def load(self, policy: PolicyRef) -> None:
        raise AssertionError("a shadow has one policy")

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        assert self.go.wait(30)
        if self.faults:
            raise self.faults.pop(0)
        self.runs.append((sampling, [self.tokenizer.decode(list(prompt)) for prompt in prompts]))
        return [[Completion(text=self.text, tokens=3, finish_reason="stop")] for _ in prompts]

    def score_next(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        raise AssertionError("nothing is judged here")

    def log_likelihoods(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> list[Continuation]:
        raise AssertionError("nothing is scored here")


class MemoryChallenger:
    """Keeps what it is handed; raises `fault` where it has one; never says a word where it hangs."""

    def __init__(self, fault: Exception | None = None, hangs: bool = False) -> None:
        self.taken: list[LiveAnswer] = []
        self.fault = fault
        self.hangs = hangs

    async def take(self, live: LiveAnswer) -> Taken:
        self.taken.append(live)
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fault is not None:
            raise self.fault
        return "stored"
