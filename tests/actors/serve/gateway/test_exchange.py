"""One reading: a request is parsed once for all who look at it, and so is its answer, streamed or not."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from typing import Any

import pydantic_core
import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.types import Message, Receive, Scope, Send

from actors.serve.feedback.capture import AnswerCapture
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.gateway.exchange import ExchangeLayers, ServedAnswer, ServedExchange
from actors.serve.guard.gate import GuardMeter, ServeGuard
from actors.serve.guard.model import AnswerGuard
from actors.serve.shadow.config import ShadowConfig
from actors.serve.shadow.sampler import ShadowSampler
from tests.actors.serve.feedback.given import DirectRedaction, MemorySink
from tests.actors.serve.gateway.served import Served, converse, json_headers, part, scope_of
from tests.actors.serve.guard.guarded import HARMFUL, HARMLESS, RULES, UNSAFE, SaidGuard, streamed, whole
from tests.actors.serve.shadow.given import MemoryChallenger

FEEDBACK = FeedbackConfig.model_validate({"folder": "feedback", "capture": "opt_in"})
SAFE = "In the fridge."
# Only a request has messages; only an answer has choices.
REQUEST, ANSWER = '"messages"', '"choices"'


class Stack(Served):
    """An app behind the gateway with guard, capture and shadow."""

    def __init__(self, app: Any, guard: AnswerGuard) -> None:
        self.sink, self.challenger = MemorySink(), MemoryChallenger()
        super().__init__(
            app=app,
            layers=ExchangeLayers(
                guard=ServeGuard(RULES, guard, GuardMeter(CollectorRegistry())),
                shadow=ShadowSampler(self.challenger, ShadowConfig(policy="c2-kto", share=1.0), FEEDBACK),
                capture=AnswerCapture(self.sink, DirectRedaction(), FEEDBACK),
            ),
        )

    def send(self, body: bytes) -> list[Message]:
        async def go() -> list[Message]:
            sent = await converse(self.gateway, scope_of(headers=json_headers(self.tokens["client"])), part(body))
            # What is handed to the challenger is so in a task of its own.
            await asyncio.sleep(0.05)
            return sent

        return asyncio.run(go())


@contextmanager
def parses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every text that is parsed as JSON meanwhile, by whichever parser the endpoint's modules use."""
    seen: list[str] = []

    def noted(parse: Callable[..., Any]) -> Callable[..., Any]:
        def parsing(data: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(data if isinstance(data, str) else bytes(data).decode())
            return parse(data, *args, **kwargs)

        return parsing

    from_json, by_model = pydantic_core.from_json, BaseModel.model_validate_json.__func__  # type: ignore[attr-defined]

    def validating(cls: type[BaseModel], data: Any, /, **kwargs: Any) -> Any:
        seen.append(data if isinstance(data, str) else bytes(data).decode())
        return by_model(cls, data, **kwargs)

    with monkeypatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("actors.") and getattr(module, "from_json", None) is from_json:
                patch.setattr(module, "from_json", noted(from_json))
        patch.setattr(json, "loads", noted(json.loads))
        patch.setattr(BaseModel, "model_validate_json", classmethod(validating))
        yield seen


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("answer", [SAFE, UNSAFE])
def test_a_request_and_each_part_of_its_answer_are_parsed_once(
    stream: bool, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = (streamed if stream else whole)(answer)
    stack = Stack(app, SaidGuard("unsafe" if answer is UNSAFE else "safe"))
    body = json.dumps({"model": "salus", "messages": HARMFUL, "store": True, "stream": stream}).encode()
    with parses(monkeypatch) as seen:
        sent = stack.send(body)
    assert sent[0]["status"] == 200 and len(stack.sink.answers) == len(stack.challenger.taken) == 1
    assert stack.last.tokens == (7, 3)
    assert sum(REQUEST in text for text in seen) == 1
    # Of a stream the end mark is none.
    assert sum(ANSWER in text for text in seen) == (len(app._parts) - 1 if stream else 1)
    assert len(seen) == len([text for text in seen if REQUEST in text or ANSWER in text])


def test_an_answer_that_only_passes_is_not_parsed_but_for_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    app = streamed(SAFE)
    served = Served(app=app)
    scope = scope_of(headers=json_headers(served.tokens["client"]))
    with parses(monkeypatch) as seen:
        asyncio.run(converse(served.gateway, scope, part(json.dumps({"messages": HARMLESS, "stream": True}).encode())))
    assert served.last.tokens == (7, 3)
    assert [ANSWER in text for text in seen] == [False, True]


@pytest.mark.parametrize("stream", [False, True])
def test_the_challenger_is_compared_with_the_policys_words_and_what_is_kept_is_the_clients(stream: bool) -> None:
    stack = Stack((streamed if stream else whole)(UNSAFE), SaidGuard("unsafe"))
    sent = stack.send(json.dumps({"messages": HARMFUL, "store": True, "stream": stream}).encode())
    assert not any(b"surgery" in message.get("body", b"") for message in sent)
    assert [live.answer for live in stack.challenger.taken] == [UNSAFE]
    assert [kept.answer for kept in stack.sink.answers] == [RULES.template]
    assert [live.policy for live in stack.challenger.taken] == ["c1-dpo"]
    assert [kept.policy for kept in stack.sink.answers] == ["c1-dpo"]


def test_what_is_judged_is_what_the_app_reads_of_a_field_that_comes_twice() -> None:
    bodies: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append((await receive())["body"])
        await whole(SAFE)(scope, _no_more, send)

    async def _no_more() -> Message:
        return part(b"")

    guard = SaidGuard("safe")
    stack = Stack(app, guard)
    body = (
        b'{"messages": [{"role": "user", "content": "harmless"}], "store": true,'
        b' "messages": [{"role": "user", "content": "ha\\u0072mful", "content": "last"}]}'
    )
    stack.send(body)
    # The very bytes, and of them what Python's parser takes, which is the app's.
    assert bodies == [body]
    read = json.loads(body)["messages"][0]["content"]
    assert (
        [asked.request for asked in guard.asked] == [kept.prompt for kept in stack.sink.answers] == [read] == ["last"]
    )


def test_what_was_read_cannot_be_exchanged() -> None:
    seen: list[ServedExchange] = []

    class Reader:
        most_bytes = 100

        async def read(self, exchange: ServedExchange, given: ServedAnswer) -> None:
            seen.append(exchange)

    served = Served(app=whole(SAFE), layers=ExchangeLayers(shadow=Reader()))
    assert served.chat(messages=HARMLESS).status_code == 200
    (exchange,) = seen
    assert (exchange.caller, exchange.is_chat, exchange.may_be_kept) == ("client", True, False)
    assert exchange.asked["messages"] == HARMLESS and exchange.chat is not None
    with pytest.raises(FrozenInstanceError):
        exchange.asked = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        exchange.asked["n"] = 100  # type: ignore[index]


def test_an_answer_longer_than_any_reader_reads_is_not_kept() -> None:
    said = ServedAnswer(10, lambda: "c1")
    said.see({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/event-stream")]})
    for _ in range(3):
        said.see({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
    said.see({"type": "http.response.body", "body": b"", "more_body": False})
    assert said.parts == [] and said.size == 30 and said.complete and said.content is None
