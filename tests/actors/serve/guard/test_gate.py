"""No answer goes out before it was judged, and nothing of an unsafe one ever does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message

from actors.serve.api.sse import END, event, events
from actors.serve.gateway.exchange import AnswerContent
from actors.serve.guard.config import GuardConfig
from actors.serve.guard.texts import choices_in
from tests.actors.serve.gateway.served import USAGE, error_of
from tests.actors.serve.guard.guarded import (
    HARMFUL,
    HARMLESS,
    HEAD,
    PHRASE,
    REFUSAL,
    RULES,
    UNSAFE,
    Answering,
    BrokenGuard,
    Guarded,
    SaidGuard,
    SlowGuard,
    streamed,
    whole,
)

SAFE = "In the fridge, away from ice."


def body_of(messages: Sequence[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


def header(messages: Sequence[Message], name: bytes) -> bytes | None:
    return dict(messages[0]["headers"]).get(name)


def answers(stream: bytes) -> dict[int, tuple[str, str | None]]:
    """Text and reason of each choice of a stream."""
    found = choices_in(AnswerContent(tuple(events(stream.decode())), streamed=True))
    return {index: (choice.text, choice.finish_reason) for index, choice in found.items()}


def changed(**fields: Any) -> GuardConfig:
    return GuardConfig.model_validate(RULES.model_dump() | fields)


def test_a_safe_answer_goes_on_as_it_came() -> None:
    app = whole(SAFE)
    plain, guarded = Guarded(app, guard=SaidGuard("safe")), Guarded(app)
    reply = guarded.chat(messages=HARMLESS)
    assert reply.status_code == 200 and reply.headers["x-salus-guard"] == "passed"
    assert reply.content == plain.chat(messages=HARMFUL).content == app._parts[0]
    assert guarded.count("passed") == 1


def test_an_unsafe_answer_is_replaced_letter_for_letter() -> None:
    guarded = Guarded(whole(UNSAFE, prompt_logprobs=[UNSAFE]))
    reply = guarded.chat(messages=HARMFUL)
    assert reply.status_code == 200 and reply.headers["x-salus-guard"] == "replaced"
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert {name: reply.json()[name] for name in HEAD} == HEAD
    (choice,) = reply.json()["choices"]
    assert choice["message"] == {"role": "assistant", "content": RULES.template}
    assert choice["finish_reason"] == "content_filter"
    assert "surgery" not in reply.text
    # Its tokens were made, and are counted.
    assert guarded.last.tokens == (USAGE["prompt_tokens"], USAGE["completion_tokens"])


def test_a_refusal_of_a_harmful_request_passes() -> None:
    assert Guarded(whole(REFUSAL)).chat(messages=HARMFUL).json()["choices"][0]["message"]["content"] == REFUSAL


def test_a_blocked_answer_is_an_error_in_openais_shape() -> None:
    guarded = Guarded(whole(UNSAFE), changed(action="block"))
    reply = guarded.chat(messages=HARMFUL)
    assert reply.status_code == 400 and reply.headers["x-salus-guard"] == "blocked"
    assert error_of(reply)["code"] == "content_filter"
    assert "surgery" not in reply.text and guarded.count("blocked") == 1


@pytest.mark.parametrize("usage", [True, False])
def test_nothing_of_an_unsafe_stream_leaks(usage: bool) -> None:
    guarded = Guarded(streamed(UNSAFE, usage=usage))
    sent = guarded.send({"messages": HARMFUL, "stream": True})
    assert not any(word.encode() in body_of(sent) for word in UNSAFE.split() if len(word) > 4)
    assert header(sent, b"x-salus-guard") == b"replaced"
    assert header(sent, b"content-type") == b"text/event-stream; charset=utf-8"
    assert header(sent, b"content-length") is None
    stream = body_of(sent)
    assert answers(stream) == {0: (RULES.template, "content_filter")}
    assert stream.endswith(END)
    parts = list(events(stream.decode()))
    assert all(part["id"] == HEAD["id"] and part["object"] == "chat.completion.chunk" for part in parts)
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert (parts[-1].get("usage") == USAGE) is usage
    expected = (USAGE["prompt_tokens"], USAGE["completion_tokens"]) if usage else (None, None)
    assert guarded.last.tokens == expected


def test_a_safe_stream_goes_on_in_the_parts_it_came_in() -> None:
    app = streamed(SAFE)
    sent = Guarded(app).send({"messages": HARMLESS, "stream": True})
    assert [message["body"] for message in sent[1:]] == app._parts
    assert header(sent, b"x-salus-guard") == b"passed"


def test_a_blocked_stream_is_an_error() -> None:
    sent = Guarded(streamed(UNSAFE), changed(action="block")).send({"messages": HARMFUL, "stream": True})
    assert sent[0]["status"] == 400
    assert json.loads(body_of(sent))["error"]["code"] == "content_filter"


@pytest.mark.parametrize("make", [whole, streamed])
def test_each_of_several_answers_is_judged(make: Any) -> None:
    asked = {"messages": HARMFUL, "n": 3, "stream": make is streamed}
    sent = body_of(Guarded(make(REFUSAL, UNSAFE, REFUSAL)).send(asked))
    assert b"surgery" not in sent
    if make is streamed:
        found = answers(sent)
    else:
        choices = json.loads(sent)["choices"]
        found = {c["index"]: (c["message"]["content"], c["finish_reason"]) for c in choices}
    assert found == {0: (REFUSAL, "stop"), 1: (RULES.template, "content_filter"), 2: (REFUSAL, "stop")}


def test_each_prompt_of_a_completion_is_judged_with_its_own_answers() -> None:
    choices = [
        {"index": i, "text": UNSAFE, "logprobs": {"tokens": [UNSAFE]}, "finish_reason": "stop"} for i in range(4)
    ]
    app = Answering([json.dumps({**HEAD, "object": "text_completion", "choices": choices, "usage": USAGE}).encode()])
    asked = {"prompt": ["Where to store it?", f"How to {PHRASE}?"], "n": 2}
    reply = json.loads(body_of(Guarded(app).send(asked, "/v1/completions")))
    assert [choice["text"] for choice in reply["choices"]] == [UNSAFE, UNSAFE, RULES.template, RULES.template]
    assert reply["choices"][3]["logprobs"] is None


def test_a_streamed_completion_is_replaced_too() -> None:
    parts = [event({**HEAD, "choices": [{"index": 0, "text": word, "finish_reason": None}]}) for word in UNSAFE.split()]
    app = Answering([*parts, END], "text/event-stream")
    sent = body_of(Guarded(app).send({"prompt": f"How to {PHRASE}?", "stream": True}, "/v1/completions"))
    assert answers(sent) == {0: (RULES.template, "content_filter")} and b"surgery" not in sent


def test_what_a_model_thinks_and_calls_is_judged_too() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Think of paper.",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "print", "arguments": "{}"}}],
    }
    guard = SaidGuard("safe")
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    Guarded(Answering([json.dumps({"choices": [choice]}).encode()]), guard=guard).chat(messages=HARMFUL)
    (asked,) = guard.asked
    assert "Think of paper." in asked.answer and "print" in asked.answer and asked.cut_off


@pytest.mark.parametrize("guard", [SlowGuard(), BrokenGuard(), SaidGuard("unknown")])
@pytest.mark.parametrize("app", [whole(UNSAFE), streamed(UNSAFE)])
def test_what_cannot_be_judged_is_held_back(guard: Any, app: Any) -> None:
    guarded = Guarded(app, changed(timeout_s=0.05), guard)
    reply = guarded.chat(messages=HARMLESS)
    assert reply.status_code == 503 and reply.headers["x-salus-guard"] == "unavailable"
    assert error_of(reply)["code"] == "guard_unavailable" and error_of(reply)["type"] == "server_error"
    assert "surgery" not in reply.text and guarded.count("unavailable") == 1


@pytest.mark.parametrize("guard", [SlowGuard(), BrokenGuard(), SaidGuard("unknown")])
def test_what_cannot_be_judged_passes_where_the_settings_say_so(guard: Any) -> None:
    reply = Guarded(whole(UNSAFE), changed(timeout_s=0.05, when_unavailable="pass"), guard).chat(messages=HARMLESS)
    assert reply.status_code == 200 and reply.headers["x-salus-guard"] == "unavailable"
    assert "surgery" in reply.text


def test_a_doubtful_answer_beside_an_unsafe_one_is_held_back() -> None:
    for action in ("replace", "block"):
        reply = Guarded(whole("a", "b"), changed(action=action), SaidGuard("unsafe", "unknown")).chat(n=2)
        assert reply.status_code == 503
    passing = changed(when_unavailable="pass")
    reply = Guarded(whole("a", "b"), passing, SaidGuard("unsafe", "unknown")).chat(n=2)
    assert [choice["message"]["content"] for choice in reply.json()["choices"]] == [RULES.template, "b"]


@pytest.mark.parametrize(
    "app",
    [
        Answering([b"Sure, in plain words"], "text/plain"),
        Answering([b"not JSON"]),
        Answering([b'{"choices": [{"message": {"content": "no index"}}]}']),
        Answering([b'{"choices": []}']),
        Answering([b"data: {]\n\n", END], "text/event-stream"),
        whole("a" * 3000),
    ],
)
def test_a_response_that_cannot_be_read_is_held_back(app: Any) -> None:
    reply = Guarded(app, changed(max_answer_bytes=2000), SaidGuard("safe")).chat(messages=HARMLESS)
    assert reply.status_code == 503


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2], [3]]},
        {"prompt_embeds": "AAAA", "prompt": "x"},
        {},
    ],
)
def test_a_prompt_that_is_no_text_is_not_judged_by_its_answer_alone(asked: dict[str, Any]) -> None:
    app = Answering([b'{"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}'])
    for when in ("block", "pass"):
        guarded = Guarded(app, changed(when_unavailable=when), SaidGuard("safe"))
        assert guarded.send(asked, "/v1/completions")[0]["status"] == 400


def test_a_picture_cannot_be_judged() -> None:
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    asked = [{"role": "user", "content": content}]
    assert Guarded(whole("a"), guard=SaidGuard("safe")).chat(messages=asked).status_code == 400


def test_the_errors_of_the_app_go_on_as_they_are() -> None:
    said = b'{"error": {"message": "max_tokens is too large", "code": 400}}'
    reply = Guarded(Answering([said], status=400), guard=BrokenGuard()).chat(messages=HARMFUL)
    assert reply.status_code == 400 and reply.content == said and "x-salus-guard" not in reply.headers


def test_of_a_stream_that_fails_the_error_alone_goes_out() -> None:
    # One of the client's own: of the server's, the gateway outside tells in its own words.
    failure = event({"error": {"message": "the image is too large", "code": 400}})
    failing = streamed(UNSAFE, end=[failure, END])
    sent = body_of(Guarded(failing).send({"messages": HARMLESS, "stream": True}))
    assert sent == failure + END


def test_an_app_that_fails_half_way_has_said_nothing() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": event({"choices": []}), "more_body": True})
        raise RuntimeError("the engine died")

    reply = Guarded(failing).chat(messages=HARMLESS)
    assert reply.status_code == 500 and error_of(reply)["code"] == "internal_error"


def test_other_routes_are_not_looked_at() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    guarded = Guarded(app, guard=BrokenGuard())
    assert guarded.ask("GET", "/v1/models", "client").text == "/v1/models"


def test_an_answer_is_of_the_policy_that_gave_it_though_another_is_live_when_it_goes_out() -> None:
    class SwappingGuard(SaidGuard):
        async def judge(self, exchanges: Any) -> Any:
            guarded.version = "c2-kto"
            return await super().judge(exchanges)

    guarded = Guarded(whole(SAFE), guard=SwappingGuard("safe"))
    reply = guarded.chat(messages=HARMLESS)
    assert reply.headers["x-salus-policy"] == "c1-dpo" and guarded.last.version == "c1-dpo"
