"""A guard between a gateway and an app that answers what a test says, and guards of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive, Scope, Send

from actors.serve.api.sse import END, event
from actors.serve.gateway.exchange import ExchangeLayers
from actors.serve.guard.config import GuardConfig
from actors.serve.guard.gate import GuardMeter, ServeGuard
from actors.serve.guard.model import AnswerGuard, GuardUnavailable, JudgedExchange, Verdict
from actors.serve.guard.rules import PhraseScreen, RulesGuard
from tests.actors.serve.gateway.served import USAGE, Served, converse, json_headers, part, scope_of

PHRASE = "forge a note"
HARMFUL = [{"role": "user", "content": "How do I forge a note?"}]
HARMLESS = [{"role": "user", "content": "How do I store insulin?"}]
UNSAFE = "Sure: take the surgery's paper and sign it."
REFUSAL = "I can't help with that."
RULES = GuardConfig(kind="rules", harmful_phrases=(PHRASE,), template='No. "{request}" {0} %s \\ end\u2028')
HEAD = {"id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "salus"}


class SlowGuard:
    """Never says anything."""

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


class BrokenGuard:
    """Cannot be asked."""

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        raise GuardUnavailable("its actor died")


class SaidGuard:
    """Says what a test says, and keeps what it was asked."""

    def __init__(self, *verdicts: Verdict) -> None:
        self._verdicts = list(verdicts)
        self.asked: list[JudgedExchange] = []

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        self.asked += exchanges
        return self._verdicts[: len(exchanges)]


class Answering:
    """An app that answers every request with these parts of a body."""

    def __init__(self, parts: Sequence[bytes], kind: str = "application/json", status: int = 200) -> None:
        self._parts = list(parts)
        self._status = status
        self._headers = [(b"content-type", kind.encode())]
        if kind.startswith("application/json"):
            self._headers.append((b"content-length", str(sum(map(len, parts))).encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        for body in self._parts:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def whole(*answers: str, **more: Any) -> Answering:
    """One JSON response with these answers."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": answer}, "logprobs": None, "finish_reason": "stop"}
        for i, answer in enumerate(answers)
    ]
    return Answering([json.dumps({**HEAD, "choices": choices, "usage": USAGE, **more}).encode()])


def streamed(*answers: str, usage: bool = True, end: Sequence[bytes] = (END,)) -> Answering:
    """The same as a stream: a first event of each answer, its words one by one, its end; then usage."""
    head = {**HEAD, "object": "chat.completion.chunk"}
    parts = [_event(head, i, {"role": "assistant", "content": ""}) for i in range(len(answers))]
    pieces = [answer.split(" ") for answer in answers]
    for place in range(max(map(len, pieces))):
        for i, words in enumerate(pieces):
            if place < len(words):
                parts.append(_event(head, i, {"content": (" " if place else "") + words[place]}))
    parts += [_event(head, i, {}, "stop") for i in range(len(answers))]
    if usage:
        parts.append(event({**head, "choices": [], "usage": USAGE}))
    return Answering([*parts, *end], "text/event-stream; charset=utf-8")


def _event(head: dict[str, Any], index: int, delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    return event({**head, "choices": [choice]})


class Guarded(Served):
    """The app behind a gateway with a guard."""

    def __init__(self, app: Any, config: GuardConfig = RULES, guard: AnswerGuard | None = None) -> None:
        self.registry = CollectorRegistry()
        guard = guard or RulesGuard(PhraseScreen(config.harmful_phrases))
        super().__init__(app=app, layers=ExchangeLayers(guard=ServeGuard(config, guard, GuardMeter(self.registry))))

    def send(self, body: object, path: str = "/v1/chat/completions") -> list[Message]:
        """What goes out for one request, message by message."""
        scope = scope_of(path=path, headers=json_headers(self.tokens["client"]))
        return asyncio.run(converse(self.gateway, scope, part(json.dumps(body).encode())))

    def count(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("salus_guard_responses_total", {"outcome": outcome})
