"""What is between the clients of a replica and vLLM's OpenAI app: keys, limits, feedback, guard, pages."""

from __future__ import annotations

import functools
from collections.abc import Callable

import ray
from fastapi import FastAPI
from prometheus_client import Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from actors.contract.actor_address import find_actor
from actors.serve.feedback.actor import RemoteSink
from actors.serve.feedback.capture import AnswerCapture
from actors.serve.feedback.redaction_process import RedactionProcess
from actors.serve.feedback.routes import feedback_router
from actors.serve.gateway.caller import CALLER
from actors.serve.gateway.config import key_ring
from actors.serve.gateway.exchange import ExchangeLayers
from actors.serve.gateway.gateway import Gateway
from actors.serve.gateway.meter import Meter, Meters, PrometheusMeter, RayMeter
from actors.serve.gateway.traffic import TrafficWindow
from actors.serve.guard.gate import GuardMeter, ServeGuard
from actors.serve.guard.rules import answer_guard
from actors.serve.pages.answers_routes import answers_router
from actors.serve.pages.client import PagesClient
from actors.serve.pages.dashboard_routes import dashboard_router
from actors.serve.pages.review_routes import review_router
from actors.serve.replica.options import LayerOptions
from actors.serve.replica.pause import Pause, PauseMiddleware
from actors.serve.shadow.actor import RemoteShadow
from actors.serve.shadow.sampler import ShadowSampler


@functools.cache
def _ray_meter() -> RayMeter:
    """Ray's meter of this process: its metrics are the same for all layers before one engine."""
    return RayMeter()


class Layers:
    """The layers of one replica. `version`: the policy whose answers begin now; `ready`: whether it answers at once.

    `pause`: where questions wait while the replica tries a policy out.
    """

    def __init__(
        self,
        options: LayerOptions,
        version: Callable[[], str],
        ready: Callable[[], bool],
        pause: Pause,
        traffic: TrafficWindow | None = None,
    ) -> None:
        """`traffic`: of several layers before one engine, in common."""
        self._options = options
        self._version = version
        self._ready = ready
        self._pause = pause
        self._counted = PrometheusMeter()
        self.traffic = traffic if traffic is not None else TrafficWindow()

    def put_before(self, app: FastAPI) -> FastAPI:
        """The app with everything before it, which is the outermost there is."""
        # Of an app that has built its middleware already; it builds it again with the new ones.
        app.middleware_stack = None
        # Before vLLM's own route of that name, which knows the engine alone.
        app.router.routes.insert(0, Route("/metrics", self._metrics))
        app.router.routes.insert(0, Route("/ready", self._readiness))
        # Added first, so that it is innermost.
        app.add_middleware(PauseMiddleware, pause=self._pause)
        capture = self._take_feedback(app)
        if self._options.pages is not None:
            pages = PagesClient(find_actor(self._options.pages))
            app.include_router(review_router(pages))
            app.include_router(dashboard_router(pages))
            app.include_router(answers_router(pages))
        # What is added last is outermost.
        app.add_middleware(
            Gateway,
            # Serve gives each answer an id of its own.
            config=self._options.gateway.model_copy(update={"request_id_header": False}),
            keys=key_ring(self._options.gateway, further=self._options.keys),
            meter=self._meter(),
            version=self._version,
            answers_of=self._options.answers_of,
            tools=self._options.tools,
            only_model=self._options.only_model,
            layers=ExchangeLayers(guard=self._guard(), shadow=self._shadow(), capture=capture),
        )
        return app

    def _guard(self) -> ServeGuard | None:
        config = self._options.guard
        if config is None:
            return None
        return ServeGuard(config, answer_guard(config, self._options.guard_actor), GuardMeter(self._counted.registry))

    def _take_feedback(self, app: FastAPI) -> AnswerCapture | None:
        config = self._options.feedback
        if self._options.feedback_writer is None:
            return None
        sink = RemoteSink(find_actor(self._options.feedback_writer), config.timeout_s)
        redaction = RedactionProcess(config)
        redaction.start()
        outcomes = Counter(
            "salus_capture", "Chat requests by what became of keeping them.", ["outcome"],
            registry=self._counted.registry,
        )  # fmt: skip
        app.include_router(feedback_router(sink, redaction, config))
        return AnswerCapture(sink, redaction, config, count=lambda outcome: outcomes.labels(outcome).inc())

    def _shadow(self) -> ShadowSampler | None:
        link = self._options.shadow
        if link is None:
            return None
        outcomes = Counter(
            "salus_shadow", "Live chat requests by what became of them in shadow mode.", ["outcome"],
            registry=self._counted.registry,
        )  # fmt: skip
        return ShadowSampler(
            RemoteShadow(link.challenger),
            link.config,
            self._options.feedback,
            count=lambda outcome: outcomes.labels(outcome).inc(),
            limit=self._options.gateway.max_tokens_per_request,
        )

    def _meter(self) -> Meter:
        own: tuple[Meter, ...] = (self._counted, self.traffic)
        return Meters((*own, _ray_meter()) if ray.is_initialized() else own)

    async def _readiness(self, request: Request) -> Response:
        ready = self._ready()
        said: dict[str, object] = {"ready": ready}
        if request.scope["state"].get(CALLER):
            said["policy"] = self._version()
        return JSONResponse(said, 200 if ready else 503)

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._counted.registry), media_type=CONTENT_TYPE_LATEST)
