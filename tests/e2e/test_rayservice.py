"""An endpoint that Ray Serve's own configuration deploys, as a RayService does: it follows the registry."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest
import ray
from ray import serve
from ray.serve.schema import ServeDeploySchema

from actors.contract.actor_address import ActorAddress, find_actor
from actors.contract.ray_internals import serve_client
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.keys import KeyFile
from actors.serve.publisher.endpoint import start_serve
from pipelines.cluster.kubernetes.manifest import serve_config
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import load_recipe
from pipelines.serving.rayservice.app import service_settings
from pipelines.serving.status import endpoints
from tests.e2e.serve_command import registered
from tests.free_port import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAME = "salus-clinic"


def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, serve.status()
        time.sleep(0.5)


def state() -> str | None:
    known = serve.status().applications.get(NAME)
    return None if known is None else known.status.value


def lives(address: ActorAddress) -> bool:
    try:
        find_actor(address)
    except ValueError:
        return False
    return True


def test_it_serves_the_current_policy_and_outlives_its_follower(tmp_path: Path) -> None:
    registry, (base, kto, dpo) = registered(tmp_path)
    registry.promote(base, "deployed")
    keys = tmp_path / "keys.jsonl"
    key = KeyFile(keys).add("clinic", "client")
    config = PublisherConfig(
        port=free_port(), cpus_per_replica=0.5, kv_cache_gib=0.0625, max_model_len=256,
        registry=registry.root.absolute(),
        gateway=GatewayConfig(keys_file=keys, requests_per_minute=None),
    )  # fmt: skip
    recipe = load_recipe("demo").model_copy(update={"publish": config})
    deployed = serve_config(recipe, NAME)
    # Of a pod; here it listens on loopback.
    del deployed["http_options"], deployed["proxy_location"]

    def served() -> str:
        with openai.OpenAI(base_url=f"{config.url}/v1", api_key=key, max_retries=0) as client:
            raw = client.chat.completions.with_raw_response.create(
                model="salus", messages=[{"role": "user", "content": "What helps?"}], max_tokens=4
            )
        return raw.headers["x-salus-policy"]

    with ExitStack() as up:
        up.enter_context(embedded_ray(ClusterConfig(), "rayservice-test", publisher_cpus(config) + 1, config))
        up.callback(serve.shutdown)
        start_serve(config)
        serve_client().deploy_apps(ServeDeploySchema.model_validate(deployed))
        until(lambda: state() == "RUNNING", 200)
        assert served() == base
        registry.promote(kto, "better")
        until(lambda: served() == kto, 60)
        address = service_settings(deployed["applications"][0]["args"]).address
        # What is promoted while no one follows is carried out by the follower that Ray makes anew.
        ray.kill(find_actor(address), no_restart=False)
        registry.promote(dpo, "better still")
        until(lambda: served() == dpo, 120)
        assert [each.version for each in endpoints(registry.root)] == [dpo]
        assert registry.rollback("too many refusals").version == kto
        until(lambda: served() == kto, 60)
        serve.delete(NAME)
        until(lambda: not lives(address), 60)
        assert endpoints(registry.root) == []
