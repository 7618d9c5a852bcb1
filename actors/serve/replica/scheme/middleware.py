"""A scheme before the served app: a chat becomes what the policy was asked when the scheme was measured.

It is innermost, behind gateway and pause. So guard, capture and logs see the client's request, and the policy cannot be
swapped while its scheme is applied. vLLM counts the tokens that it reads, examples included.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.contract.conversation import Turn
from actors.contract.records import PolicyRef
from actors.engine.chat import conversation_tokens
from actors.engine.tokenizer import load_tokenizer
from actors.serve.api.chat import chat_request
from actors.serve.gateway.body import parse_body, replayed
from actors.serve.gateway.caller import find_route, route_path
from actors.serve.gateway.refusal import ClientGone, Refused
from actors.serve.replica.scheme.asked import ServedScheme, as_scheme_asks, read_scheme
from actors.serve.replica.scheme.nearest import NearestPrompts

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class PolicyScheme:
    """A scheme with the policy that it was measured with. Thread-safe once it was asked."""

    scheme: ServedScheme
    model: Path

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.model)

    @cached_property
    def _nearest(self) -> NearestPrompts:
        return NearestPrompts([request for request, _ in self.scheme.examples], self.model)

    def asked(self, turns: tuple[Turn, ...], room: int) -> tuple[Turn, ...]:
        """The conversation as the scheme asks it; without examples where these leave more than `room` tokens.

        So it was measured: a request without room for examples was asked without any.
        """
        scheme = self.scheme
        bare = as_scheme_asks(turns, scheme.system_prompt, scheme.suffix, ())
        if not scheme.few_shot:
            return bare
        # Examples are near to the last word, as where it was measured.
        places = self._nearest.nearest(turns[-1].content, scheme.few_shot)
        shown = [scheme.examples[place] for place in reversed(places)]
        full = as_scheme_asks(turns, scheme.system_prompt, scheme.suffix, shown)
        return full if len(conversation_tokens(self._tokenizer, full)) <= room else bare


class SchemeMiddleware:
    """ASGI middleware: chats are asked by the scheme of the policy that answers; other questions are refused.

    A policy without a scheme answers as it is asked.
    """

    def __init__(self, app: ASGIApp, policy: Callable[[], PolicyRef | None], max_model_len: int) -> None:
        """`policy`: whose answers begin now; `max_model_len`: tokens of prompt and answer together."""
        self._app = app
        self._policy = policy
        self._max_model_len = max_model_len
        self._known: tuple[PolicyRef, PolicyScheme] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = find_route(route_path(scope)) if scope["type"] == "http" else None
        policy = self._policy() if route is not None and route.generates else None
        if route is None or policy is None or policy.scheme is None:
            await self._app(scope, receive, send)
            return
        try:
            body = await _whole(receive)
            if route.asks != "chat":
                raise Refused(
                    400, "This model is served by an inference scheme, which takes chats alone.", "unsupported_route"
                )
            rewritten = await asyncio.to_thread(self._rewritten, body, policy)
        except ClientGone:
            return
        except Refused as refused:
            await _refuse(refused, send)
            return
        length = (b"content-length", str(len(rewritten)).encode())
        headers = [header for header in scope["headers"] if header[0].lower() != b"content-length"]
        await self._app({**scope, "headers": [*headers, length]}, replayed(rewritten, receive), send)

    def _rewritten(self, body: bytes, policy: PolicyRef) -> bytes:
        asked = parse_body(body)
        request = chat_request(asked)
        turns = request.turns() if request is not None else None
        if request is None or turns is None:
            raise Refused(
                400,
                "This model is served by an inference scheme, which takes conversations of texts that end with the"
                " user's word.",
                "unsupported_messages",
                "messages",
            )
        scheme = self._scheme(policy)
        room = self._max_model_len - (request.longest or scheme.scheme.answer_tokens)
        messages = [turn.model_dump() for turn in scheme.asked(turns, room)]
        return json.dumps(asked | {"messages": messages}).encode()

    def _scheme(self, policy: PolicyRef) -> PolicyScheme:
        known = self._known
        if known is None or known[0] != policy:
            assert policy.scheme is not None
            known = policy, PolicyScheme(read_scheme(Path(policy.scheme)), Path(policy.path))
            self._known = known
        return known[1]


async def _whole(receive: Receive) -> bytes:
    """The body, which the gateway has read within its limits. Raises `ClientGone` where the client left."""
    parts: list[bytes] = []
    while True:
        message: Message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(refused: Refused, send: Send) -> None:
    body = refused.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
