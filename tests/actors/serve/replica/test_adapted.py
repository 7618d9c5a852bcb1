"""Adapters of one engine: each is reached below its name, by its name alone, and says who it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.traffic import TrafficWindow
from actors.serve.replica.adapted import adapted_app, rank_of
from actors.serve.replica.options import AdapterOptions, LayerOptions
from actors.serve.replica.pause import Pause

ROOT = "/_/base-1"
MESSAGES = [{"role": "user", "content": "Hello"}]


def engine() -> FastAPI:
    """An app in the place of vLLM's, which tells what it was asked."""
    app = FastAPI()
    app.state.openai_serving_models = SimpleNamespace(model_config=SimpleNamespace(max_model_len=64))

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "base-1", "root": "/srv/models"}, {"id": "clinic"}, {"id": "ward"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> dict[str, Any]:
        asked = await request.json()
        return {"id": request.headers["x-request-id"], "model": asked.get("model"), "choices": []}

    return app


def adapter(model: str, rank: int = 8) -> AdapterOptions:
    layers = LayerOptions(gateway=GatewayConfig(open=True), answers_of=model)
    return AdapterOptions(model=model, version=f"{model}-v2", path=f"/adapters/{model}", rank=rank, layers=layers)


@pytest.fixture(scope="module")
def served() -> Any:
    traffic = TrafficWindow()
    return adapted_app(engine(), [adapter("clinic"), adapter("ward")], lambda: True, Pause(), traffic, False)


async def ask(app: Any, method: str, path: str, **body: Any) -> httpx.Response:
    # As Serve does for an application below a prefix.
    transport = httpx.ASGITransport(app, root_path=ROOT)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        return await client.request(method, f"{ROOT}{path}", json=body or None)


def asked(app: Any, method: str, path: str, **body: Any) -> httpx.Response:
    import asyncio

    return asyncio.run(ask(app, method, path, **body))


@pytest.mark.parametrize("model", ["clinic", "ward"])
def test_each_is_reached_below_its_name_and_says_its_version(served: Any, model: str) -> None:
    reply = asked(served, "POST", f"/{model}/v1/chat/completions", model=model, messages=MESSAGES)
    assert reply.status_code == 200 and reply.headers["x-salus-policy"] == f"{model}-v2"
    assert reply.json()["model"] == model and reply.json()["id"].startswith(f"{model}-")
    listed = asked(served, "GET", f"/{model}/v1/models").json()["data"]
    assert [(card["id"], card["root"], card["max_model_len"]) for card in listed] == [(model, model, 64)]
    assert asked(served, "GET", f"/{model}/v1/models/{model}").json()["id"] == model
    assert asked(served, "GET", f"/{model}/v1/models/base-1").status_code == 404
    assert asked(served, "GET", f"/{model}/ready").json() == {"ready": True, "policy": f"{model}-v2"}


@pytest.mark.parametrize("named", ["ward", "base-1", "", None])
def test_no_policy_answers_for_another_nor_the_base_for_any(served: Any, named: str | None) -> None:
    body = {"messages": MESSAGES} | ({"model": named} if named is not None else {})
    reply = asked(served, "POST", "/clinic/v1/chat/completions", **body)
    assert reply.status_code == 404 and reply.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/v1/models", "/", "/other/v1/models", "/clinic/v1/load_lora_adapter", "/clinic"])
def test_there_is_nothing_else(served: Any, path: str) -> None:
    assert asked(served, "GET", path).status_code == 404


@pytest.mark.parametrize(("ranks", "most"), [((1,), 1), ((8, 4), 8), ((9,), 16), ((96, 300), 320), ((512,), 512)])
def test_the_engine_holds_the_widest(ranks: tuple[int, ...], most: int) -> None:
    assert rank_of([adapter("a", rank) for rank in ranks]) == most
