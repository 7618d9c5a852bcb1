"""Capture: only what was asked for, whole and redacted, after the last chunk, and never in the way of an answer."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from actors.contract.conversation import turns_of
from actors.serve.feedback.capture import AnswerCapture, CaptureOutcome
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.redaction import NotRedacted
from actors.serve.feedback.sink import OverQuota
from actors.serve.gateway.exchange import ExchangeLayers
from tests.actors.serve.feedback.endpoint import ANSWER, CHAT, ChatApp, read_once
from tests.actors.serve.feedback.given import ASKED, FULL, NOON, DirectRedaction, MemorySink

CONFIG = FeedbackConfig.model_validate({"folder": "feedback", "capture": "opt_in", "max_request_bytes": 2000})


class Endpoint:
    """Capture behind a chat app, and a client of it."""

    def __init__(
        self,
        app: ChatApp | None = None,
        sink: Any = None,
        config: FeedbackConfig = CONFIG,
        fault: Exception | None = None,
    ) -> None:
        self.app = app or ChatApp()
        self.sink = sink or MemorySink()
        self.counted: list[CaptureOutcome] = []
        self.capture = AnswerCapture(
            self.sink, DirectRedaction(fault=fault), config, count=self.counted.append, clock=lambda: NOON
        )
        self._whole = read_once(self.app, ExchangeLayers(capture=self.capture))

    def ask(self, path: str = CHAT, **body: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._whole)
            async with httpx.AsyncClient(transport=transport, base_url="http://salus") as client:
                return await client.post(path, json={"model": "salus", "messages": ASKED} | body)

        return asyncio.run(send())

    @property
    def outcomes(self) -> dict[CaptureOutcome, int]:
        return dict(self.capture.outcomes)


@pytest.mark.parametrize("stream", [False, True])
def test_an_exchange_that_asks_for_it_is_kept_redacted(stream: bool) -> None:
    endpoint = Endpoint()
    response = endpoint.ask(store=True, stream=stream)
    raw = b"".join(endpoint.app.chunks()) if stream else json.dumps(endpoint.app.whole()).encode()
    assert response.status_code == 200 and response.content == raw
    [kept] = endpoint.sink.answers
    assert kept.answer_id == "chatcmpl-1" and kept.policy == "c1-dpo" and kept.caller == "ward" and kept.at == NOON
    assert kept.prompt == "My name is [NAME],\ninsulin?"
    assert kept.answer == "Mrs [NAME] stores it in the fridge." and kept.finish_reason == "stop"
    assert [turn.role for turn in turns_of(kept.conversation)] == ["system", "user"]
    assert kept.origin == "captured" and endpoint.outcomes == {"captured": 1}


@pytest.mark.parametrize("store", [{}, {"store": False}, {"store": "true"}, {"store": 1}])
def test_nobody_who_did_not_ask_is_kept(store: dict[str, Any]) -> None:
    endpoint = Endpoint()
    assert endpoint.ask(**store).status_code == 200
    assert endpoint.sink.answers == [] and endpoint.outcomes == {"not_asked": 1}


STEERED: list[dict[str, Any]] = [
    {"response_format": {"type": "json_object"}},
    {"structured_outputs": {"choice": ["Yes."]}},
    {"logit_bias": {"5": 100}},
    {"tools": [{}], "tool_choice": "required"},
    {"guided_regex": "Yes"},
    {"continue_final_message": True},
]


@pytest.mark.parametrize("steered", STEERED)
def test_an_answer_that_its_request_steered_is_not_kept(steered: dict[str, Any]) -> None:
    endpoint = Endpoint()
    assert endpoint.ask(store=True, **steered).status_code == 200
    assert endpoint.sink.answers == [] and endpoint.outcomes == {"steered": 1}


def test_an_answer_that_was_begun_by_its_request_is_not_kept() -> None:
    endpoint = Endpoint()
    endpoint.ask(store=True, messages=[*ASKED, {"role": "assistant", "content": "Sure,"}])
    assert endpoint.sink.answers == [] and endpoint.outcomes == {"not_asked": 1}


def test_what_is_over_its_callers_quota_is_counted_and_goes_nowhere() -> None:
    endpoint = Endpoint()
    endpoint.sink.fault = OverQuota("enough for today")
    assert endpoint.ask(store=True).status_code == 200
    assert endpoint.outcomes == {"over_quota": 1}


def test_a_deployment_that_keeps_nothing_keeps_nothing() -> None:
    endpoint = Endpoint(config=FeedbackConfig())
    assert endpoint.ask(store=True).status_code == 200
    assert endpoint.sink.answers == [] and endpoint.outcomes == {}
    with pytest.raises(ValidationError, match="needs folder"):
        FeedbackConfig.model_validate({"capture": "opt_in"})


def test_other_paths_pass_untouched() -> None:
    endpoint = Endpoint()
    assert endpoint.ask(path="/v1/completions", store=True).status_code == 200
    assert endpoint.outcomes == {}


@pytest.mark.parametrize(
    "app",
    [
        ChatApp(finish_reason=None),
        ChatApp(status=503),
        ChatApp(pieces=[]),
        ChatApp(headers={"content-encoding": "x-none"}),
        ChatApp(answer_id=""),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_whole_answer_is_not_kept(app: ChatApp, stream: bool) -> None:
    endpoint = Endpoint(app)
    assert endpoint.ask(store=True, stream=stream).status_code == app.status
    assert endpoint.sink.answers == [] and endpoint.outcomes == {"no_answer": 1}


@pytest.mark.parametrize(
    "messages",
    [[], "text", [{"role": "assistant", "content": "x"}], [{"role": "user", "content": [{"type": "image_url"}]}]],
)
def test_what_is_no_conversation_of_texts_is_not_kept(messages: Any) -> None:
    endpoint = Endpoint()
    assert endpoint.ask(store=True, messages=messages).status_code == 200
    assert endpoint.sink.answers == [] and endpoint.outcomes == {"not_asked": 1}


def test_what_is_too_long_passes_and_is_not_kept() -> None:
    endpoint = Endpoint()
    assert endpoint.ask(store=True, padding="x" * 2000).status_code == 200
    assert len(endpoint.app.bodies[0]) > 2000
    short = Endpoint(config=CONFIG.model_copy(update={"max_response_bytes": 10}))
    assert short.ask(store=True).json()["choices"][0]["message"]["content"] == "".join(ANSWER)
    few = Endpoint(config=CONFIG.model_copy(update={"max_text_chars": 10}))
    few.ask(store=True)
    # Any turn, not the last one alone: each of them is redacted.
    early = Endpoint(config=CONFIG.model_copy(update={"max_text_chars": 100}))
    early.ask(store=True, messages=[{"role": "system", "content": "x" * 101}, {"role": "user", "content": "insulin?"}])
    for each in (endpoint, short, few, early):
        assert each.outcomes == {"too_large": 1} and each.sink.answers == []


@pytest.mark.parametrize("fault", [FULL, RuntimeError("patient 12345678")])
def test_a_fault_of_the_sink_is_logged_and_counted_and_breaks_no_answer(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = Endpoint(sink=MemorySink(fault))
    with caplog.at_level(logging.ERROR):
        assert endpoint.ask(store=True).json()["id"] == "chatcmpl-1"
    assert endpoint.outcomes == {"fault": 1}
    # Whatever another error says may be what was to be redacted.
    assert "not kept" in caplog.text and "12345678" not in caplog.text


def test_what_cannot_be_redacted_in_time_is_counted_and_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint(fault=NotRedacted("A text was not redacted within 5 s, and is not kept."))
    assert endpoint.ask(store=True).json()["id"] == "chatcmpl-1"
    assert endpoint.sink.answers == [] and endpoint.outcomes == {"not_redacted": 1}
    assert (
        endpoint.counted == ["not_redacted"] and "not redacted within 5 s" in caplog.text and "Anna" not in caplog.text
    )


def test_a_slow_sink_holds_nobody_longer_than_agreed() -> None:
    class Slow(MemorySink):
        async def captured(self, answer: Any) -> None:
            await asyncio.sleep(30)

    endpoint = Endpoint(sink=Slow(), config=CONFIG.model_copy(update={"timeout_s": 0.05}))
    assert endpoint.ask(store=True).status_code == 200


def test_every_chunk_is_passed_on_before_anything_is_kept() -> None:
    sink = MemorySink()
    kept: list[int] = []
    app = ChatApp(sent=lambda: kept.append(len(sink.answers)))
    Endpoint(app, sink).ask(store=True, stream=True)
    # Only behind the last chunk there is something kept.
    assert kept == [0] * (len(app.chunks()) - 1) + [1]
