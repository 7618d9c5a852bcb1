"""The router over loopback: who is asked, what passes through, and what a client is told that asks wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actors.serve.gateway.keys import new_key
from actors.serve.router.upstream import Ask, Unreachable, Upstream
from tests.actors.serve.router.standing import Application, Standing, route, standing

Play = Callable[[Standing], Coroutine[Any, Any, None]]


def played(play: Play, *applications: Application, pages: str | None = None) -> None:
    async def whole() -> None:
        async with standing(*applications, pages=pages) as stands:
            await play(stands)

    asyncio.run(whole())


def two() -> tuple[Application, Application]:
    return Application("clinic", "c1"), Application("ward", "w1")


def test_each_request_goes_to_the_model_it_names_and_everything_of_it_with_it() -> None:
    clinic, ward = two()

    async def play(stands: Standing) -> None:
        body = b'{ "model": "ward", "content": "\xc3\xa9" }'
        headers = {"x-odd": "kept", "te": "trailers", "connection": "keep-alive, x-hop", "x-hop": "1"}
        reply = await stands.client.post("/v1/chat/completions?a=%2F1", content=body, headers={
            **headers, "content-type": "application/json", "authorization": "Bearer k", "x-request-id": "mine",
        })  # fmt: skip
        assert reply.json() == {"by": "w1", "content": "é"}
        assert (reply.headers["x-salus-policy"], reply.headers["x-of-app"]) == ("w1", "w1")
        assert reply.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert "x-one-hop" not in reply.headers and len(reply.headers.get_list("date")) == 1
        (seen,) = ward.seen
        assert (seen.path, seen.query, seen.body) == ("/_/ward-1/v1/chat/completions", "a=%2F1", body)
        assert seen.header(b"x-odd") == [b"kept"] and not seen.header(b"x-hop") and not seen.header(b"te")
        assert (seen.header(b"authorization"), seen.header(b"x-request-id")) == ([b"Bearer k"], [b"mine"])
        assert seen.header(b"host") == [stands.client.base_url.netloc]
        assert (await stands.ask("clinic")).json()["by"] == "c1"
        assert len(clinic.seen) == 1

    played(play, clinic, ward)


def test_an_unknown_model_is_openais_404_and_none_at_all_a_400() -> None:
    async def play(stands: Standing) -> None:
        unknown = await stands.ask("nobody")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
        assert unknown.json()["error"]["param"] == "model"
        assert (await stands.client.get("/v1/models/nobody")).status_code == 404
        unnamed = await stands.ask(None)
        assert (unnamed.status_code, unnamed.json()["error"]["param"]) == (400, "model")

    played(play, *two())


def test_one_model_alone_needs_no_name() -> None:
    async def play(stands: Standing) -> None:
        assert (await stands.ask(None)).json()["by"] == "c1"

    played(play, two()[0])


def test_strangers_learn_nothing_from_the_router() -> None:
    token, key = new_key("ward", "client", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    clinic, ward = Application("clinic", "c1", (key,)), Application("ward", "w1", (key,))

    async def play(stands: Standing) -> None:
        for model in ("clinic", "nobody", None):
            assert (await stands.ask(model)).status_code == 401
        for path in ("/v1/models", "/v1/models/nobody", "/metrics", "/review", "/tokenize", "/v1/../tokenize"):
            assert (await stands.client.get(path)).status_code == 401, path
        assert (await stands.client.get("/ready")).json() == {"ready": True}
        stands.client.headers["authorization"] = f"Bearer {token}"
        assert (await stands.ask("clinic")).status_code == 200
        assert (await stands.ask("nobody")).status_code == 404
        assert (await stands.client.get("/metrics")).status_code == 403
        # Nothing of what a client chose but what routes are made of.
        assert {seen.path for seen in clinic.seen if "tokenize" in seen.path} == set()

    played(play, clinic, ward)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"clinic"', b'{"model": NaN}'])
def test_what_is_no_request_is_for_an_application_to_refuse(body: bytes) -> None:
    async def play(stands: Standing) -> None:
        headers = {"content-type": "application/json"}
        reply = await stands.client.post("/v1/chat/completions", content=body, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_json")

    played(play, *two())


def test_a_body_that_is_too_long_reaches_nobody() -> None:
    clinic, ward = two()

    async def unannounced() -> Any:
        for _ in range(3):
            yield b" " * 1000

    async def play(stands: Standing) -> None:
        for content in (b" " * 3000, unannounced()):
            reply = await stands.client.post("/v1/chat/completions", content=content)
            assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")
        assert not clinic.seen and not ward.seen

    played(play, clinic, ward)


def test_streamed_parts_are_passed_on_at_once() -> None:
    clinic, _ = two()

    async def play(stands: Standing) -> None:
        body = {"model": "clinic", "do": "stream"}
        async with stands.client.stream("POST", "/v1/chat/completions", json=body) as reply:
            parts = reply.aiter_text()
            assert await asyncio.wait_for(anext(parts), 5) == "data: one\n\n"
            clinic.go.set()
            assert [part async for part in parts] == ["data: two\n\n"]
            assert reply.headers["content-type"].startswith("text/event-stream")

    played(play, clinic)


@pytest.mark.parametrize("do", ["stream", "wait"])
def test_a_client_that_leaves_ends_the_answer_over_there(do: str) -> None:
    clinic, _ = two()

    async def play(stands: Standing) -> None:
        asking = asyncio.create_task(stands.ask("clinic", do))
        while not clinic.seen:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        asking.cancel()
        # uvicorn tells an app that does not listen only by ending it: the stream notices, what waits is asked about.
        if do == "stream":
            await asyncio.wait_for(clinic.left.wait(), 5)
        lane = stands.lanes.lanes["clinic"]
        await asyncio.wait_for(lane.hold(5), 5)
        lane.release()
        clinic.go.set()

    played(play, clinic)


def test_an_answer_that_breaks_off_does_not_look_whole() -> None:
    clinic, _ = two()

    async def play(stands: Standing) -> None:
        clinic.go.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await stands.ask("clinic", "die")
        assert (await stands.ask("clinic")).status_code == 200

    played(play, clinic)


def test_a_proxy_that_has_not_heard_of_the_application_yet_is_asked_again() -> None:
    clinic, _ = two()

    async def play(stands: Standing) -> None:
        stands.proxy.stale = 3
        assert (await stands.ask("clinic")).json()["by"] == "c1"
        assert len(clinic.seen) == 1

    played(play, clinic)


def test_an_application_that_is_gone_is_a_503_and_no_other_models_business() -> None:
    clinic, ward = two()

    async def play(stands: Standing) -> None:
        del stands.proxy.applications[route("clinic").prefix]
        gone = await stands.ask("clinic")
        assert (gone.status_code, gone.json()["error"]["code"]) == (503, "model_unavailable")
        assert (await stands.ask("ward")).json()["by"] == "w1"
        assert [model["id"] for model in (await stands.client.get("/v1/models")).json()["data"]] == ["ward"]
        assert (await stands.client.get("/ready")).status_code == 503
        assert (await stands.client.get("/health")).status_code == 200

    played(play, clinic, ward)


def test_before_any_model_is_up_that_is_said() -> None:
    async def play(stands: Standing) -> None:
        assert (await stands.ask("clinic")).status_code == 503
        assert (await stands.client.get("/ready")).json() == {"ready": False}

    played(play)


def test_models_and_metrics_are_those_of_all() -> None:
    async def play(stands: Standing) -> None:
        models = (await stands.client.get("/v1/models")).json()
        assert models == {"object": "list", "data": [{"id": "clinic"}, {"id": "ward"}]}
        await stands.ask("ward")
        await stands.ask("nobody")
        text = (await stands.client.get("/metrics")).text
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["salus_x_total", (("k", "v"), ("model", "clinic"))] == 6
        assert samples["salus_x_total", (("k", "v"), ("model", "ward"))] == 4
        assert samples["salus_router_requests_total", (("model", "ward"), ("status", "2xx"))] == 1
        assert samples["salus_router_requests_total", (("model", "none"), ("status", "4xx"))] == 1
        assert text.count("# TYPE salus_x_total ") == 1

    played(play, *two())


def test_feedback_goes_to_the_model_that_answered_and_pages_to_the_one_that_has_them() -> None:
    async def play(stands: Standing) -> None:
        for answer, by in (
            (f"chatcmpl-ward-{'0' * 32}", "w1"),
            (f"cmpl-ward-{'0' * 32}", "w1"),
            (f"chatcmpl-clinic-{'0' * 32}", "c1"),
            ("chatcmpl-unknown", "c1"),
        ):
            reply = await stands.client.post("/v1/feedback", json={"answer_id": answer, "verdict": "up"})
            assert reply.text == by, answer
        assert (await stands.client.get("/review")).text == "w1"

    played(play, *two(), pages="ward")


def test_ready_is_who_would_answer_at_once() -> None:
    clinic, ward = two()

    async def play(stands: Standing) -> None:
        assert (await stands.client.get("/ready")).json() == {"ready": True}
        ward.ready = False
        assert (await stands.client.get("/ready")).status_code == 503
        ward.ready = True
        await stands.lanes.hold(route("clinic"))
        assert (await asyncio.wait_for(stands.client.get("/ready"), 2)).status_code == 503

    played(play, clinic, ward)


def test_an_applications_path_is_not_the_routers() -> None:
    async def play(stands: Standing) -> None:
        reply = await stands.client.post("/_/clinic-1/v1/chat/completions", json={"model": "clinic"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (421, "misdirected_request")

    played(play, two()[0])


def test_a_connection_that_ends_before_a_byte_is_tried_again() -> None:
    async def play() -> None:
        asked: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head + await reader.readexactly(8))
            if len(asked) == 3:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        upstream = Upstream(f"http://127.0.0.1:{port}", "/_/clinic-1")
        reply = await upstream.fetch(Ask("POST", "/v1/feedback", ((b"host", b"x"),), b'{"a": 1}'))
        assert (reply.status, reply.body) == (200, b"ok")
        assert len(asked) == 3 and all(each.endswith(b'{"a": 1}') for each in asked)
        await upstream.close()
        server.close()

    asyncio.run(play())


def test_what_is_no_http_is_nobodys_answer() -> None:
    async def play() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"nonsense\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        upstream = Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "/_/clinic-1")
        with pytest.raises(Unreachable):
            await upstream.fetch(Ask("GET", "/v1/models", ()))
        await upstream.close()
        server.close()

    asyncio.run(play())
