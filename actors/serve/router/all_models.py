"""What a router says for all its models at once: which there are, their metrics, and whether all are ready."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping

from actors.serve.gateway.answer import VERSION_HEADER
from actors.serve.gateway.refusal import Header
from actors.serve.router.headers import without_body
from actors.serve.router.lane import RouteLane
from actors.serve.router.meter import RouterMeter
from actors.serve.router.upstream import Ask, Unreachable, UpstreamReply
from actors.serve.router.upstreams import Upstreams

_OK = 200
_SERVER_FAULT = 500
# How long an application may take to say whether it is ready.
_READY_S = 5.0
_JSON: Header = (b"content-type", b"application/json")
_TEXT: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class AnsweredInstead(Exception):
    """Ends a request with what an application answered to another in its place."""

    def __init__(self, reply: UpstreamReply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class AllModels:
    """Asks each model's application for the same client; those that are down keep no other back."""

    def __init__(self, lanes: Mapping[str, RouteLane], upstreams: Upstreams, meter: RouterMeter) -> None:
        self._lanes = lanes
        self._upstreams = upstreams
        self._meter = meter

    async def let_in(self, ask: Ask) -> None:
        """Return where this client may list the models: strangers learn nothing of which there are.

        Raises:
            AnsweredInstead: what an application answers to it instead.
            Unreachable: none is up.
        """
        await self._each(_read(ask, "/v1/models"), most=1)

    async def models(self, ask: Ask) -> UpstreamReply:
        """One list of all models; raises as `let_in`."""
        replies = await self._each(_read(ask, "/v1/models"))
        data = [model for _, reply in replies for model in json.loads(reply.body)["data"]]
        return UpstreamReply(_OK, _kept(replies[0][1].headers), json.dumps({"object": "list", "data": data}).encode())

    async def metrics(self, ask: Ask) -> UpstreamReply:
        """The metrics of all models, and of this router; raises as `let_in`."""
        replies = await self._each(_read(ask, "/metrics"))
        headers = [header for header in _kept(replies[0][1].headers) if header[0] != _TEXT[0]]
        return UpstreamReply(_OK, [*headers, _TEXT], self._meter.text({model: reply.body for model, reply in replies}))

    async def health(self, ask: Ask) -> UpstreamReply:
        """That this router lives."""
        return UpstreamReply(_OK, [_JSON], b"{}")

    async def ready(self, ask: Ask) -> UpstreamReply:
        """Whether every model would be answered for at once; it waits for nobody."""
        lanes = list(self._lanes.items())
        ready = bool(lanes) and not any(lane.held for _, lane in lanes)
        if ready:
            asked = Ask("GET", "/ready", tuple(without_body(ask.headers)))
            says = [self._is_ready(model, lane, asked) for model, lane in lanes]
            ready = all(await asyncio.gather(*says))
        return UpstreamReply(_OK if ready else 503, [_JSON], json.dumps({"ready": ready}).encode())

    async def _is_ready(self, model: str, lane: RouteLane, asked: Ask) -> bool:
        try:
            async with asyncio.timeout(_READY_S):
                upstream = await self._upstreams.to(model, lane.route.prefix)
                return (await upstream.fetch(asked)).status == _OK
        except (TimeoutError, Unreachable):
            return False

    async def _each(self, ask: Ask, most: int | None = None) -> list[tuple[str, UpstreamReply]]:
        """The good answers, or `most` of them.

        Raises:
            AnsweredInstead: the answer of one that did not let the client in.
            Unreachable: none is up.
        """
        good: list[tuple[str, UpstreamReply]] = []
        for model, lane in list(self._lanes.items()):
            try:
                async with lane.passing() as route:
                    reply = await (await self._upstreams.to(model, route.prefix)).fetch(ask)
            except Unreachable:
                continue
            if reply.status >= _SERVER_FAULT:
                continue
            if reply.status != _OK:
                raise AnsweredInstead(reply)
            good.append((model, reply))
            if len(good) == most:
                break
        if not good:
            raise Unreachable("no application is up")
        return good


def _read(ask: Ask, path: str) -> Ask:
    """The same client's question for what lies at `path`, not compressed."""
    return Ask("GET", path, tuple(header for header in without_body(ask.headers) if header[0] != b"accept-encoding"))


def _kept(headers: Iterable[Header]) -> list[Header]:
    """An application's headers for what was put together from several."""
    return [header for header in headers if header[0] != VERSION_HEADER and not header[0].startswith(b"content-l")]
