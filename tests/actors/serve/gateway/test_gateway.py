"""The gateway around an app: what goes out and when, failures, and what never gets in."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.gateway import Gateway
from actors.serve.gateway.keys import KeyRing
from actors.serve.gateway.meter import FinishedRequest, TokenCount
from actors.serve.router.routes import model_of_answer
from tests.actors.serve.gateway.served import (
    CHAT,
    PAGE_POLICY,
    SAFE,
    Clock,
    Served,
    Tally,
    converse,
    error_of,
    json_headers,
    part,
    scope_of,
    small_app,
)

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


def body(text: bytes, more: bool) -> Message:
    return {"type": "http.response.body", "body": text, "more_body": more}


def streaming(served: Served) -> Scope:
    return scope_of(headers=json_headers(served.tokens["client"]))


def header_of(message: Message, name: bytes) -> bytes | None:
    return dict(message["headers"]).get(name)


def test_a_stream_passes_part_by_part_and_says_who_answers_when_the_first_one_comes() -> None:
    async def go() -> None:
        sent: list[Message] = []
        first, second = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send(START)
            await first.wait()
            await send(body(b"data: {}\n\n", True))
            await second.wait()
            await send(body(b"data: [DONE]\n\n", False))

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return part(b"{}")

        served = Served(app=app, version="old")
        running = asyncio.create_task(served.gateway(streaming(served), receive, send))
        await asyncio.sleep(0.01)
        assert sent == []
        # Policies are swapped while the request waits for its first token.
        served.version = "new"
        first.set()
        await asyncio.sleep(0.01)
        assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
        assert header_of(sent[0], b"x-salus-policy") == b"new"
        assert sent[1] == body(b"data: {}\n\n", True)
        served.version = "newer"
        second.set()
        await running
        assert sent[2:] == [body(b"data: [DONE]\n\n", False)]
        assert served.last.version == "new"

    asyncio.run(go())


def test_an_answer_says_its_policy_and_a_refusal_says_none() -> None:
    served = Served()
    assert served.chat().headers["x-salus-policy"] == "c1-dpo"
    served.version = "c2-kto\r\nx: y é"
    assert served.chat().headers["x-salus-policy"] == "c2-kto??x:?y??"
    assert "x-salus-policy" not in served.chat(key=None).headers


@pytest.mark.parametrize(
    ("method", "path", "key"),
    [
        ("GET", "/health", None),
        ("GET", "/v1/models", None),
        ("GET", "/v1/models", "client"),
        ("POST", "/v1/completions", "client"),
        ("GET", "/tokenize", "client"),
        ("GET", "/review", None),
        ("OPTIONS", "/review", None),
    ],
)
def test_every_answer_has_safe_headers(method: str, path: str, key: str | None) -> None:
    served = Served()
    response = served.ask(method, path, key, json_body={} if method == "POST" else None)
    assert {name: response.headers.get(name) for name in SAFE} == SAFE
    assert len(response.headers.get_list("x-request-id")) == 1
    assert not [name for name in response.headers if name.startswith("access-control-")]


def test_a_page_keeps_its_own_policy() -> None:
    response = Served().ask("GET", "/review", "reviewer")
    assert response.headers.get_list("content-security-policy") == [PAGE_POLICY]
    assert response.headers["x-frame-options"] == "DENY"


def test_the_app_cannot_speak_for_the_gateway() -> None:
    response = Served().ask("POST", "/v1/completions", "client", [("origin", "http://evil.example")], json_body={})
    assert response.status_code == 200
    assert response.headers.get_list("x-salus-policy") == ["c1-dpo"]
    assert "forged" not in str(response.headers)
    assert "access-control-allow-origin" not in response.headers


def test_requests_have_ids() -> None:
    served = Served()
    first, second = served.chat().headers["x-request-id"], served.chat().headers["x-request-id"]
    assert first != second
    named = served.ask("GET", "/v1/models", "client", [("x-request-id", "trace-7")])
    assert named.headers["x-request-id"] == "trace-7" == named.json()["salus_request_id"]
    odd = served.ask("GET", "/v1/models", "client", [("x-request-id", "a b<script>")])
    assert "script" not in odd.headers["x-request-id"]
    behind_serve = Served(config=GatewayConfig(request_id_header=False))
    assert "x-request-id" not in behind_serve.chat().headers


def test_an_answers_id_is_the_gateways_whatever_a_client_sends() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"]))

    served = Served(app=app)
    odd = [(b"x-request-id", b"mine"), (b"x-data-parallel-rank", b"7"), (b"x-session-id", b"yours"), (b"x-odd", b"1")]
    asking = scope_of(headers=[*json_headers(served.tokens["client"]), *odd])
    for _ in range(2):
        asyncio.run(converse(served.gateway, asking, part(b"{}")))
    first, second = (headers.pop(b"x-request-id") for headers in seen)
    assert first != second and b"mine" not in (first, second)
    # What vLLM reads of headers may be another's business: nothing of it gets there.
    assert all(set(headers) == {b"content-type"} for headers in seen)


def test_an_answers_id_leads_back_to_its_model() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"])[b"x-request-id"].decode())

    gateway = Gateway(app, GatewayConfig(open=True), KeyRing(), Tally(), lambda: "c1", answers_of="ward-2")
    asyncio.run(converse(gateway, scope_of(headers=[(b"content-type", b"application/json")]), part(b"{}")))
    # As vLLM makes an answer's id of it.
    assert model_of_answer(f"chatcmpl-{seen[0]}") == "ward-2"


def test_without_a_key_nothing_says_which_policy_answers() -> None:
    served = Served()
    for path in ("/health", "/ready"):
        unnamed = served.ask("GET", path)
        assert unnamed.status_code == 200 and unnamed.json()["salus_caller"] == ""
        assert "x-salus-policy" not in unnamed.headers
        wrong = served.ask("GET", path, headers=[("authorization", "Bearer salus_wrong")])
        assert wrong.status_code == 200 and "x-salus-policy" not in wrong.headers
        assert served.ask("GET", path, "client").headers["x-salus-policy"] == "c1-dpo"


@pytest.mark.parametrize(
    "said", [b"/srv/models/c1 is broken", b'{"error": {"message": "/srv/models/c1", "code": 500}}']
)
@pytest.mark.parametrize("form", [None, {"type": "json_object"}])
def test_an_apps_500_is_told_in_the_gateways_words(said: bytes, form: dict[str, str] | None) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"application/json")]})
        await send(body(said, False))

    response = Served(app=app).chat(response_format=form)
    # An engine that lives and has no next token to give: the form is at fault, and so its sender.
    assert response.status_code == (500 if form is None else 400)
    assert "srv" not in response.text
    assert error_of(response)["code"] == ("internal_error" if form is None else "invalid_constraint")


@pytest.mark.parametrize(("code", "kept"), [(400, True), (500, False), ("x", False), (None, False)])
def test_a_stream_that_fails_says_so_in_the_gateways_words(code: object, kept: bool) -> None:
    said = b'data: {"error": ' + json.dumps({"message": "/srv/models/c1", "code": code}).encode() + b"}\n\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b'data: {"choices": []}\n\n', True))
        await send(body(said, True))
        await send(body(b"data: [DONE]\n\n", False))

    served = Served(app=app)
    sent = asyncio.run(converse(served.gateway, streaming(served), part(b"{}")))
    assert (sent[2]["body"] == said) is kept and (b"srv" in sent[2]["body"]) is kept
    assert json.loads(sent[2]["body"].removeprefix(b"data: "))["error"] and sent[2]["body"].endswith(b"\n\n")
    assert sent[3] == body(b"data: [DONE]\n\n", False)


def test_a_failing_app_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    served = Served()
    with caplog.at_level(logging.ERROR):
        response = served.chat(user="before")
    assert response.status_code == 500
    assert error_of(response)["type"] == "server_error"
    assert "secret" not in response.text and "Traceback" not in response.text
    assert response.headers["x-request-id"] in caplog.text and "a secret of the engine" in caplog.text
    assert served.last.status == 500 and served.meter.running == []


def test_as_a_middleware_of_the_app_itself_it_does_the_same() -> None:
    # As Ray's LLMServer adds its own: inside what would answer a failure with the framework's words.
    app, outside = small_app(), Served()
    app.add_middleware(
        Gateway,
        config=GatewayConfig(open=True),
        keys=KeyRing(),
        meter=outside.meter,
        version=lambda: "c9",
        clock=Clock(),
    )
    outside.gateway = app
    assert outside.chat().headers["x-salus-policy"] == "c9"
    response = outside.chat(user="before")
    assert response.status_code == 500 and error_of(response)["code"] == "internal_error"
    assert outside.ask("POST", "/tokenize", json_body={}).status_code == 404


def test_an_app_that_fails_after_its_answer_is_logged_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": [(b"content-type", b"application/json")]})
        await send(body(b"{}", False))
        raise RuntimeError("after the answer")

    served = Served(app=app)
    with caplog.at_level(logging.ERROR):
        sent = asyncio.run(converse(served.gateway, streaming(served), part(b"{}")))
    assert sent[0]["status"] == 503 and sent[1:] == [body(b"{}", False)]
    assert "after the answer" in caplog.text


def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    served = Served()
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    waiting = [part(json.dumps({**CHAT, "stream": True, "user": "midway"}).encode())]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    with pytest.raises((RuntimeError, ExceptionGroup)):
        asyncio.run(served.gateway(streaming(served), receive, send))
    assert sent[0]["status"] == 200
    assert not [m for m in sent[1:] if not m["more_body"]]
    assert served.last.status == 200 and served.meter.running == []


@pytest.mark.parametrize("sends", [[START], []])
def test_an_app_that_sends_no_body(sends: list[Message]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in sends:
            await send(message)

    served = Served(app=app)
    sent = asyncio.run(converse(served.gateway, streaming(served), part(b"{}")))
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"][: 2 * len(sends)]


@pytest.mark.parametrize("broken", ["version", "order"])
def test_what_goes_wrong_when_an_answer_begins_is_a_500(broken: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if broken == "version":
            await send(START)
        await send(body(b"x", False))

    def nobody() -> str:
        raise LookupError("no policy is loaded")

    served = Served(app=app)
    served.gateway = Gateway(app, GatewayConfig(open=True), KeyRing(), served.meter, nobody)
    sent = asyncio.run(converse(served.gateway, streaming(served), part(b"{}")))
    assert sent[0]["status"] == 500


def test_the_app_hears_that_the_client_left() -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.extend([await receive(), await receive()])

    served = Served(app=app)
    gone = {"type": "http.disconnect"}
    assert asyncio.run(converse(served.gateway, streaming(served), part(b"{", True), part(b"}"), gone)) == []
    assert heard == [part(b"{}"), gone]
    assert served.last.status == 499


def test_a_request_that_is_cancelled_is_counted_out() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def go() -> None:
        running = asyncio.create_task(converse(served.gateway, streaming(served), part(b"{}")))
        await asyncio.sleep(0.01)
        assert served.meter.running == ["/v1/chat/completions"]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    served = Served(app=app)
    asyncio.run(go())
    assert served.meter.running == [] and served.last.status == 499


def test_websockets_are_refused_and_the_apps_start_is_passed_on() -> None:
    kinds: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(scope["type"])

    served = Served(app=app)
    connect: Message = {"type": "websocket.connect"}
    sent = asyncio.run(converse(served.gateway, scope_of(path="/v1/realtime", kind="websocket"), connect))
    assert [m["type"] for m in sent] == ["websocket.close"]
    asyncio.run(converse(served.gateway, {"type": "lifespan"}))
    assert kinds == ["lifespan"]


def test_the_state_of_the_app_stays() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope["state"])

    served = Served(app=app)
    state = {"engine": 1}
    asyncio.run(converse(served.gateway, {**streaming(served), "state": state}, part(b"{}")))
    assert seen["engine"] == 1 and seen["salus_caller"] == "client"
    assert state == {"engine": 1}


def test_what_is_measured() -> None:
    served = Served()
    served.chat()
    answered = served.last
    assert answered._replace(seconds=0) == FinishedRequest(
        "/v1/chat/completions", "POST", 200, 0, "client", "c1-dpo", TokenCount(7, 3)
    )
    served.chat(stream=True)
    assert served.last.tokens == TokenCount(7, 3)
    served.chat(key=None)
    assert served.last[2:] == (401, served.last.seconds, "none", "none", TokenCount())
    served.ask("GET", "/a/path/of/the/clients/choice", "client")
    assert (served.last.route, served.last.status_class) == ("other", "4xx")
    served.ask("BREW", "/v1/models/whatever", "client")
    assert (served.last.route, served.last.method) == ("/v1/models/{model}", "other")
    assert served.meter.running == []


def test_options_that_is_no_preflight_is_like_any_method() -> None:
    served = Served()
    assert served.ask("OPTIONS", "/v1/models").status_code == 401
    assert served.ask("OPTIONS", "/v1/models", "client").status_code == 405
