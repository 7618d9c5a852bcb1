"""cluster.yaml is what Ray's launcher accepts, and keeps its promises."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from actors.serve.proxy.environment import PROTECTED
from pipelines.cluster.plan import make_plan
from pipelines.config.load import load_recipe
from tests.root import ROOT


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return loaded


def test_is_valid_for_rays_cluster_launcher(cluster: dict[str, Any]) -> None:
    spec = find_spec("ray")
    assert spec is not None and spec.submodule_search_locations is not None
    schema = Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"
    jsonschema.validate(cluster, json.loads(schema.read_text(encoding="utf-8")))


def test_head_does_no_gpu_work(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"]["GPU"] == 0
    assert head["max_workers"] == 0


def test_gpu_workers_start_from_none_on_spot(cluster: dict[str, Any]) -> None:
    workers = [t for name, t in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    assert workers
    for worker in workers:
        assert worker["resources"]["GPU"] > 0
        assert worker["min_workers"] == 0 < worker["max_workers"] <= cluster["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


def test_token_authentication_is_on_everywhere(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in cluster[key] if "ray start" in command]
        assert len(starts) == 1
        assert "RAY_AUTH_MODE=token ray start" in starts[0]


def test_processes_that_reserve_no_gpu_see_none(cluster: dict[str, Any]) -> None:
    assert any("export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1'" in command for command in cluster["setup_commands"])


def test_what_nodes_write_is_private_and_their_http_servers_are_protected(cluster: dict[str, Any]) -> None:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert any("umask 077; ulimit -n 65536; RAY_AUTH_MODE=token ray start" in each for each in cluster[key])
    for name, value in PROTECTED.items():
        assert any(f"export {name}={value}'" in command for command in cluster["setup_commands"])


def test_dashboard_and_client_port_stay_on_loopback(cluster: dict[str, Any]) -> None:
    commands = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in commands
    assert "--dport 10001 ! -i lo -j REJECT" in commands
    assert "--ray-client-server-port=10001" in commands


def test_runs_this_same_program(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["~/salus"] == "."
    assert any("$HOME/salus[cuda]" in command for command in cluster["setup_commands"])


def test_one_worker_holds_the_recipe_named_in_its_comments(cluster: dict[str, Any]) -> None:
    plan = make_plan(load_recipe("llama-3.1-8b"))
    worker = cluster["available_node_types"]["gpu"]["resources"]
    assert plan.gpus <= worker["GPU"]
    assert plan.cpus <= worker["CPU"]
