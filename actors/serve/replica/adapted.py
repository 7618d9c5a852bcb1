"""Several policies of one base model on one engine: each is a LoRA adapter, with layers of its own before it.

The engine learns its adapters when it starts, and never another one: vLLM's prefix cache knows an adapter by its name
alone. A policy's requests come below the path of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from actors.serve.gateway.caller import route_path
from actors.serve.gateway.traffic import TrafficWindow
from actors.serve.replica.layers import Layers
from actors.serve.replica.options import AdapterOptions
from actors.serve.replica.pause import Pause
from actors.serve.replica.ray_llm import model_card

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# vLLM's `max_lora_rank` takes no other.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def lora_arguments(adapters: Sequence[AdapterOptions]) -> dict[str, object]:
    """What vLLM is told of its adapters, in vLLM's own names; nothing where there are none."""
    if not adapters:
        return {}
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath

    return {
        "enable_lora": True,
        "max_loras": len(adapters),
        "max_lora_rank": rank_of(adapters),
        "lora_modules": [LoRAModulePath(name=each.model, path=each.path) for each in adapters],
    }


def rank_of(adapters: Sequence[AdapterOptions]) -> int:
    """The least rank of vLLM's that holds every adapter."""
    return next(rank for rank in RANKS if rank >= max(each.rank for each in adapters))


def adapted_app(
    app: FastAPI,
    adapters: Sequence[AdapterOptions],
    ready: Callable[[], bool],
    pause: Pause,
    traffic: TrafficWindow,
    tools: bool,
) -> ASGIApp:
    """vLLM's app behind the layers of each adapter.

    Args:
        app: vLLM's, which serves all of them.
        adapters: one for each policy.
        ready: whether the engine answers at once.
        pause: where questions wait, in common.
        traffic: told of every request, in common.
        tools: whether the engine reads calls of tools.
    """
    return AdapterPaths(app, {each.model: _before(app, each, ready, pause, traffic, tools) for each in adapters})


def _before(
    app: FastAPI,
    adapter: AdapterOptions,
    ready: Callable[[], bool],
    pause: Pause,
    traffic: TrafficWindow,
    tools: bool,
) -> FastAPI:
    # Its own documentation would tell nothing of what is below it.
    front = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model_card(app, adapter.model)]})

    async def model(request: Request) -> Response:
        if request.path_params["model"] != adapter.model:
            message = f"The model `{adapter.model}` is the only one here."
            return JSONResponse({"error": {"message": message, "type": "NotFoundError", "code": 404}}, 404)
        return JSONResponse(model_card(app, adapter.model))

    layers = Layers(
        adapter.layers.model_copy(update={"tools": tools, "only_model": adapter.model}),
        lambda: adapter.version,
        ready,
        pause,
        traffic,
    )
    layers.put_before(front)
    front.add_route("/v1/models", models)
    front.add_route("/v1/models/{model}", model)
    # Last: it takes whatever no other route has.
    front.mount("", app)
    return front


class AdapterPaths:
    """ASGI: leads what is below `/NAME` to the app of that name; start and end of the app are vLLM's."""

    def __init__(self, app: ASGIApp, apps: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = route_path(scope)
        name, _, rest = path.removeprefix("/").partition("/")
        app = self._apps.get(name)
        if app is None or scope["type"] != "http":
            if scope["type"] == "http":
                await JSONResponse({"error": {"message": "There is nothing here."}}, 404)(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            return
        root = f"{scope.get('root_path', '')}/{name}"
        await app({**scope, "root_path": root, "path": f"{root}/{rest}"}, receive, send)
