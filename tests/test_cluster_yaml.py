"""cluster.yaml is what Ray's launcher accepts, and keeps its promises."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from actors.serve.proxy.environment import PROTECTED
from pipelines.cluster.devices import Resources
from pipelines.cluster.plan import check, make_plan, told
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


def test_the_command_in_its_comments_fits_a_cluster_without_a_gpu_node(cluster: dict[str, Any]) -> None:
    comments = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    (command,) = re.findall(r'salus align (llama-3\.1-8b .*?)"', comments, re.DOTALL)
    recipe, *settings = shlex.split(re.sub(r"\\\n#", " ", command))
    overrides = [each for each in settings if each != "--set" and not each.startswith("judge.calibration=")]
    asked = load_recipe(recipe, overrides).cluster
    head, node = (cluster["available_node_types"][name]["resources"] for name in ("head", "gpu"))
    # 32 GiB of an m7i.2xlarge, of which Ray leaves its object store and itself a third.
    found = Resources(
        where="it", shared=True, cpus=head["CPU"], gpus=0, memory_gib=20, node_gpus=0, gpu_memory_gib=None
    )
    check(make_plan(load_recipe(recipe)), told(asked, found))
    assert asked.joined == "auto"
    assert (asked.gpus, asked.node_gpus) == (node["GPU"], node["GPU"])
    assert asked.logical_cpus == head["CPU"] + node["CPU"]


def test_a_fresh_node_gets_what_engines_compile_with_and_a_driver(cluster: dict[str, Any]) -> None:
    steps = cluster["setup_commands"]
    update, install, driver = (
        next(place for place, step in enumerate(steps) if words in step)
        for words in ("apt-get -o DPkg::Lock::Timeout=300 update", "build-essential python3-dev", "nvidia-smi")
    )
    assert update < install < driver
    assert "nvidia-headless-580-server-open" in steps[driver]


def test_what_nodes_fetch_or_compile_is_shared_and_the_hubs_token_is_not(cluster: dict[str, Any]) -> None:
    (profile,) = [step for step in cluster["setup_commands"] if "~/.profile" in step]
    for name in ("HF_HOME", "SALUS_CACHE", "VLLM_CACHE_ROOT"):
        assert f"'export {name}=/mnt/salus/" in profile
    assert cluster["file_mounts"]["~/.hf_token"] == "~/.cache/huggingface/token"
    assert "'export HF_TOKEN_PATH=$HOME/.hf_token'" in profile
    assert "chmod 600 ~/.ray/auth_token ~/.hf_token" in cluster["setup_commands"]


def test_one_worker_holds_the_recipe_named_in_its_comments(cluster: dict[str, Any]) -> None:
    plan = make_plan(load_recipe("llama-3.1-8b"))
    worker = cluster["available_node_types"]["gpu"]["resources"]
    assert plan.gpus <= worker["GPU"]
    assert plan.cpus <= worker["CPU"]
