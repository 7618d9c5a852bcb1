"""A small app in the place of vLLM's, the gateway before it, and ways to ask: over httpx, or message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.exchange import NO_LAYERS, ExchangeLayers
from actors.serve.gateway.gateway import Gateway
from actors.serve.gateway.keys import ApiKey, KeyRing, Role, new_key
from actors.serve.gateway.meter import FinishedRequest

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CHAT = {"model": "salus", "messages": [{"role": "user", "content": "Hello"}]}
PAGE_POLICY = "default-src 'self'"
# What every answer has.
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
# Some of what vLLM's app, of one release or another, also answers to.
NOT_FOR_OTHERS = (
    "/tokenize", "/detokenize", "/docs", "/redoc", "/load", "/version", "/ping", "/invocations", "/pause", "/resume",
    "/sleep", "/wake_up", "/is_sleeping", "/collective_rpc", "/server_info", "/reset_prefix_cache", "/start_profile",
    "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/responses/resp_1", "/v1/messages", "/v1/embeddings",
    "/v1/chat/completions/render", "/v1/chat/completions/batch", "/v1/audio/transcriptions", "/v1/score", "/pooling",
    "/v1", "/v1/", "/", "", "/v1/models/", "/v1/models/a/b", "/v1/models/..", "/v1//models", "/V1/models", "/metrics/",
    "/health/", "/review/../tokenize", "/review/./x", "/review//x", "/reviews", "/dashboard2", "//health",
    "/review/%2e%2e/tokenize", "/review\n", "/review/a\\b", "/v1/models/\x00",
)  # fmt: skip


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Tally:
    """A meter that keeps what it was told."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.requests: list[FinishedRequest] = []

    def started(self, route: str) -> None:
        self.running.append(route)

    def finished(self, request: FinishedRequest) -> None:
        self.running.remove(request.route)
        self.requests.append(request)


def keys_of(*roles: Role) -> tuple[dict[str, str], list[ApiKey]]:
    """A key of each role, named after it: the tokens by name, and what is kept."""
    made = [(role, *new_key(role, role, lambda: datetime(2026, 1, 1, tzinfo=UTC))) for role in roles]
    return {role: token for role, token, _ in made}, [key for _, _, key in made]


async def _chat(request: Request) -> Response:
    asked = await request.json()
    # A field that means nothing to the gateway.
    fails = asked.get("user")
    if fails == "before":
        raise RuntimeError("a secret of the engine")
    if asked.get("stream"):
        return StreamingResponse(_events(fails == "midway"), media_type="text/event-stream")
    headers = {"x-salus-policy": "forged", "access-control-allow-origin": "*", "x-request-id": "forged"}
    return JSONResponse({"seen": asked, "usage": USAGE}, headers=headers)


async def _events(fails: bool) -> AsyncIterator[str]:
    yield 'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
    if fails:
        raise RuntimeError("the engine died")
    yield f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\n"
    yield "data: [DONE]\n\n"


async def _seen(request: Request) -> Response:
    """What the gateway lets an app see."""
    state = {name: getattr(request.state, name) for name in ("salus_caller", "salus_role", "salus_request_id")}
    body = await request.body()
    return JSONResponse({**state, "headers": dict(request.headers), "body": body.decode("utf-8", "replace")})


async def _page(request: Request) -> Response:
    return HTMLResponse("<p>review</p>", headers={"content-security-policy": PAGE_POLICY})


def small_app() -> Starlette:
    """Every route that may be reached, and a catch-all in the place of what may not."""
    app = Starlette(
        routes=[
            Route("/health", _seen),
            Route("/ready", _seen),
            Route("/v1/chat/completions", _chat, methods=["POST"]),
            Route("/v1/completions", _chat, methods=["POST"]),
            Route("/review", _page),
            Route("/{rest:path}", _seen, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
    )
    # As vLLM has it.
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    return app


@dataclass
class Served:
    """A gateway before an app, with a key of each role."""

    app: ASGIApp = field(default_factory=small_app)
    config: GatewayConfig = field(default_factory=GatewayConfig)
    clock: Clock = field(default_factory=Clock)
    meter: Tally = field(default_factory=Tally)
    version: str = "c1-dpo"
    layers: ExchangeLayers = NO_LAYERS
    tools: bool = True

    def __post_init__(self) -> None:
        self.tokens, kept = keys_of("client", "reviewer", "admin")
        keys = KeyRing(None, kept, self.clock)
        self.gateway: Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]] = Gateway(
            self.app,
            self.config,
            keys,
            self.meter,
            lambda: self.version,
            self.clock,
            layers=self.layers,
            tools=self.tools,
        )

    def ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        json_body: object = None,
        content: bytes | None = None,
        base_url: str = "http://localhost:8000",
    ) -> httpx.Response:
        """One request; `key`: the role whose key is sent as Bearer."""
        sent = [*headers, *([("authorization", f"Bearer {self.tokens[key]}")] if key is not None else [])]

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(self.gateway)
            async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
                return await client.request(method, path, headers=sent, json=json_body, content=content)

        return asyncio.run(go())

    def chat(self, key: str | None = "client", **fields: Any) -> httpx.Response:
        return self.ask("POST", "/v1/chat/completions", key, json_body={**CHAT, **fields})

    @property
    def last(self) -> FinishedRequest:
        return self.meter.requests[-1]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of a refused request, which has OpenAI's shape and nothing else."""
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    return error


def scope_of(
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: Iterable[tuple[bytes, bytes]] = (),
    kind: str = "http",
) -> dict[str, Any]:
    """A request's scope as a server makes it."""
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "server": ("localhost", 8000),
        "client": ("127.0.0.1", 1),
    }


def json_headers(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + token.encode()), (b"content-type", b"application/json")]


async def converse(app: ASGIApp, scope: Scope, *messages: Message) -> list[Message]:
    """Everything an app sends to a client that says `messages` and then nothing more."""
    waiting = list(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}
