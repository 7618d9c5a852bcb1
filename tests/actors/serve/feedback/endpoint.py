"""A chat endpoint as an ASGI app, without a model: answers as JSON or as a stream, in the shapes that vLLM gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from actors.serve.gateway.answer import Answer, AnswerTail
from actors.serve.gateway.body import parse_body, read_body, replayed
from actors.serve.gateway.caller import CALLER, find_route
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.exchange import ExchangeLayers, ServedAnswer, ServedExchange

ANSWER = ["Mrs Lind ", "stores it ", "in the fridge."]
CHAT = "/v1/chat/completions"


@dataclass
class ChatApp:
    """Answers every request; `passed` holds what was sent until each point."""

    pieces: list[str] = field(default_factory=lambda: list(ANSWER))
    answer_id: str = "chatcmpl-1"
    finish_reason: str | None = "stop"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    # Called after each chunk that was sent.
    sent: Callable[[], None] = lambda: None
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        streamed = bool(json.loads(body or b"{}").get("stream"))
        kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
        headers = [(k.encode(), v.encode()) for k, v in {"content-type": kind, **self.headers}.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        chunks = self.chunks() if streamed else [json.dumps(self.whole()).encode()]
        for i, chunk in enumerate(chunks):
            await send({"type": "http.response.body", "body": chunk, "more_body": i + 1 < len(chunks)})
            self.sent()

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(self.pieces)}
        choices = [{"index": 0, "message": message, "finish_reason": self.finish_reason}]
        return {"id": self.answer_id, "object": "chat.completion", "choices": choices}

    def chunks(self) -> list[bytes]:
        """Server-sent events, cut where no line ends, with a second choice and a last chunk without any."""
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": p} for p in self.pieces)]
        events: list[dict[str, Any]] = [self._event(0, delta, None) for delta in deltas]
        events.insert(2, self._event(1, {"content": "another choice"}, None))
        events.append(self._event(0, {}, self.finish_reason))
        events.append({"id": self.answer_id, "choices": [], "usage": {"total_tokens": 3}})
        text = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events) + "data: [DONE]\n\n"
        raw = text.encode()
        return [raw[i : i + 50] for i in range(0, len(raw), 50)]

    def _event(self, index: int, delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
        return {"id": self.answer_id, "object": "chat.completion.chunk", "choices": [choice]}


def as_caller(app: ASGIApp, name: str | None) -> ASGIApp:
    """The app behind a gateway that found this caller; None: one that asks nobody for a key."""

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        state = {CALLER: name} if name is not None else {}
        await app({**scope, "state": state}, receive, send)

    return gateway


def read_once(app: ASGIApp, layers: ExchangeLayers, caller: str = "ward", policy: str = "c1-dpo") -> ASGIApp:
    """The app behind as much of a gateway as reads requests and collects answers, and refuses nothing."""

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        route = find_route(scope["path"])
        if route is None:
            await app(scope, receive, send)
            return
        body = await read_body(receive, {}, GatewayConfig())
        said = ServedAnswer(layers.most_bytes, lambda: policy)
        exchange = ServedExchange(route, caller, parse_body(body), len(body), said)
        tail = AnswerTail(exchange, layers, Answer(send, lambda: policy, ()))
        await tail.run(lambda send: app(scope, replayed(body, receive), send))

    return gateway
