"""Manifests are what KubeRay takes, hold the recipe's plan, and keep what cluster.yaml promises."""

from __future__ import annotations

import shlex
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.proxy.environment import PROTECTED
from actors.serve.scaling import ReplicaScaling
from pipelines.cluster.kubernetes.manifest import KINDS, Kind, manifest, run_command
from pipelines.cluster.kubernetes.pods import LONGEST_NAME, SHARED, PodOptions, object_name, selector_of, toleration_of
from pipelines.cluster.kubernetes.sizes import PodSize, PodSizes, pod_sizes
from pipelines.cluster.plan import make_plan
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.serving.rayservice.app import service_settings

BIG = "llama-3.1-8b"
OPTIONS = PodOptions(image="salus:cuda", keys_secret="clinic-keys")
ALL_KINDS: tuple[Kind, ...] = ("rayjob", "raycluster", "rayservice")


@cache
def schemas() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("crds.yaml").read_text(encoding="utf-8"))
    return loaded


def written(kind: Kind, recipe: Recipe, options: PodOptions = OPTIONS) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifest(kind, recipe, options)))


def cluster_of(made: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = made["spec"]
    found: dict[str, Any] = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    return found


def pods(made: dict[str, Any]) -> list[dict[str, Any]]:
    spec = cluster_of(made)
    return [each["template"]["spec"] for each in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("name", [BIG, "llama-3.2-3b", "demo"])
def test_kuberay_takes_it(kind: Kind, name: str) -> None:
    rich = OPTIONS.model_copy(
        update={
            "namespace": "clinic",
            "cache_claim": "models",
            "ray_secret": "ray-token",
            "hub_secret": "hub",
            "node_selector": {"gpu": "h100"},
            "tolerations": (toleration_of("nvidia.com/gpu:NoSchedule"),),
        }
    )
    for options in (OPTIONS, rich):
        *others, made = written(kind, load_recipe(name), options)
        jsonschema.validate(made, schemas()[KINDS[kind]])
        assert made["kind"] == KINDS[kind]
        assert [each["kind"] for each in others] == ([] if kind == "rayservice" else ["ConfigMap"])
        for each in (*others, made):
            assert each["metadata"].get("namespace") == options.namespace


def test_the_schemas_refuse_what_kuberay_would() -> None:
    *_, made = written("rayjob", load_recipe(BIG))
    made["spec"]["rayClusterSpec"]["workerGroups"] = []
    with pytest.raises(jsonschema.ValidationError, match="workerGroups"):
        jsonschema.validate(made, schemas()["RayJob"])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_head_has_no_gpu_and_workers_come_from_none(kind: Kind) -> None:
    *_, made = written(kind, load_recipe(BIG))
    spec = cluster_of(made)
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"
    (group,) = spec["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == 0 < group["maxReplicas"]
    head, worker = pods(made)
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert int(worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]) > 0


def test_its_workers_hold_the_plan() -> None:
    plan = make_plan(load_recipe(BIG))
    for gpus_per_node, most in ((8, 1), (4, 2), (2, 4), (1, 8)):
        sizes = pod_sizes(plan, gpus_per_node)
        assert (sizes.worker.gpus, sizes.most, sizes.gpus) == (gpus_per_node, most, 8)
        assert plan.cpus <= sizes.cpus
        assert plan.memory_gib <= sizes.memory_gib
        for row in plan.rows:
            pod = sizes.worker if row.gpus else sizes.head
            assert row.cpus <= pod.cpus and row.memory_gib <= 0.7 * pod.memory_gib
    assert make_plan(load_recipe("demo")).memory_gib <= pod_sizes(make_plan(load_recipe("demo")), 8).memory_gib


def test_a_plan_that_such_nodes_cannot_hold_is_refused_in_one_sentence() -> None:
    recipe = load_recipe(BIG, ["generate.engine.tensor_parallel=4"])
    with pytest.raises(
        SalusError, match=r"One generator needs 4 GPUs of one node, and a worker has 2.*--gpus-per-node"
    ):
        pod_sizes(make_plan(recipe), 2)
    with pytest.raises(SalusError, match=r"6 GPUs do not divide by the 4 of one generator"):
        pod_sizes(make_plan(recipe), 6)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_pod_is_private_and_shows_rays_token(kind: Kind) -> None:
    *_, made = written(kind, load_recipe(BIG))
    assert cluster_of(made)["authOptions"] == {"mode": "token"}
    for pod in pods(made):
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert PROTECTED.items() <= environment.items()
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert container["workingDir"] == SHARED


def test_secrets_are_named_and_never_written() -> None:
    options = OPTIONS.model_copy(update={"hub_secret": "hub", "ray_secret": "ray-token"})
    *_, made = written("rayservice", load_recipe(BIG), options)
    assert cluster_of(made)["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    for pod in pods(made):
        named = {each["name"]: each["valueFrom"] for each in pod["containers"][0]["env"] if "valueFrom" in each}
        assert named["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
        assert named["SALUS_API_KEYS"] == {"secretKeyRef": {"name": "clinic-keys", "key": "keys"}}


def test_labels_and_taints_are_of_the_workers_alone() -> None:
    options = OPTIONS.model_copy(
        update={"node_selector": selector_of(["gpu=h100"]), "tolerations": (toleration_of("spot=yes:NoExecute"),)}
    )
    *_, made = written("rayjob", load_recipe(BIG), options)
    head, worker = pods(made)
    assert "nodeSelector" not in head and "tolerations" not in head
    assert worker["nodeSelector"] == {"gpu": "h100"}
    assert worker["tolerations"] == [{"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoExecute"}]


@pytest.mark.parametrize("taint", ["", "a=b=c", "key:Never", "key value", "key:NoSchedule\n"])
def test_what_is_no_taint_is_refused(taint: str) -> None:
    with pytest.raises(SalusError, match="is no taint"):
        toleration_of(taint)


def test_the_job_runs_this_recipe_and_says_how_far_the_cluster_grows(tmp_path: Path) -> None:
    recipe = load_recipe(BIG, ["cycles=2", "seed=11"])
    config, made = written("rayjob", recipe)
    # The head mounts it, and it is the same recipe with all that was set.
    file = tmp_path / "recipe.yaml"
    file.write_text(config["data"]["recipe.yaml"], encoding="utf-8")
    command = shlex.split(made["spec"]["entrypoint"])
    assert command[:3] == ["cd", SHARED, "&&"]
    assert load_recipe(str(file)) == recipe
    mounts = {each["name"]: each["mountPath"] for each in pods(made)[0]["containers"][0]["volumeMounts"]}
    assert command[command.index("align") + 1] == f"{mounts['recipe']}/recipe.yaml"
    assert f"{SHARED}/runs/{BIG}-s11" in command
    settings = [command[i + 1] for i, word in enumerate(command) if word == "--set"]
    taken = load_recipe(str(file), settings).cluster
    sizes = pod_sizes(make_plan(recipe), 8)
    assert (taken.address, taken.gpus, taken.logical_cpus, taken.memory_gib) == (
        "auto", sizes.gpus, sizes.cpus, sizes.memory_gib,
    )  # fmt: skip
    assert made["spec"]["backoffLimit"] > 0


def test_a_shell_reads_nothing_into_a_recipes_name() -> None:
    recipe = load_recipe("demo").model_copy(update={"name": "a; rm -rf $HOME"})
    sizes = PodSizes(head=PodSize(cpus=1, memory_gib=1), worker=PodSize(cpus=1, memory_gib=1), most=1)
    assert f"'{SHARED}/runs/a; rm -rf $HOME-s7'" in run_command(recipe, sizes)


def served(recipe: Recipe, options: PodOptions = OPTIONS) -> tuple[dict[str, Any], dict[str, Any]]:
    (made,) = written("rayservice", recipe, options)
    config: dict[str, Any] = yaml.safe_load(made["spec"]["serveConfigV2"])
    return made, config


def test_ray_serve_takes_the_services_configuration_and_finds_its_builder() -> None:
    recipe = load_recipe(BIG, ["publish.autoscaling.max_replicas=4", "publish.max_num_seqs=64"])
    made, config = served(recipe)
    (application,) = ServeDeploySchema.model_validate(config).applications
    module, _, name = str(application.import_path).partition(":")
    assert callable(getattr(import_module(module), name))
    settings = service_settings(application.args)
    assert settings.application == application.name == made["metadata"]["name"]
    assert settings.registry == Path(SHARED) / "registry"
    # What the recipe sets for its endpoint, on every address, and never open.
    assert settings.publish == recipe.publish.model_copy(
        update={"host": "0.0.0.0", "gateway": recipe.publish.gateway.model_copy(update={"open": False})}
    )
    # The most replicas have room.
    (group,) = cluster_of(made)["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert group["maxReplicas"] * int(limits["nvidia.com/gpu"]) == 4


def test_a_key_file_on_the_shared_volume_will_do() -> None:
    gateway = GatewayConfig(keys_file=Path("/mnt/salus/keys.jsonl"))
    publish = PublisherConfig(gateway=gateway, autoscaling=ReplicaScaling(max_replicas=2))
    recipe = load_recipe("demo").model_copy(update={"publish": publish})
    _, config = served(recipe, PodOptions(image="salus:cpu"))
    found = service_settings(config["applications"][0]["args"]).publish
    assert (found.gateway, found.autoscaling) == (gateway, publish.autoscaling)


def test_an_endpoint_without_keys_is_refused() -> None:
    with pytest.raises(SalusError, match=r"it needs keys. Name a secret with --keys-secret"):
        manifest("rayservice", load_recipe("demo"), PodOptions(image="salus:cpu"))


def test_haproxy_is_refused_as_a_rayservice_has_serves_own_proxy() -> None:
    with pytest.raises(SalusError, match=r"set publish\.proxy=serve"):
        manifest("rayservice", load_recipe("demo", ["publish.proxy=haproxy"]), OPTIONS)


def test_arguments_that_do_not_fit_name_the_first() -> None:
    good = {"application": "a", "registry": "/r", "publish": {}}
    assert service_settings(good).poll_s == 0.5
    with pytest.raises(SalusError, match=r"do not fit \(registry\): Field required"):
        service_settings({"application": "a", "publish": {}})
    with pytest.raises(SalusError, match=r"publish\.router needs salus serve"):
        service_settings(good | {"publish": {"router": True}})
    with pytest.raises(SalusError, match=r"publish\.gateway\.open=true lets everybody in"):
        service_settings(good | {"publish": {"host": "0.0.0.0"}}).check()


@pytest.mark.parametrize("name", ["llama-3.1-8b", "a", "x" * 80, "9.lives_", "a-._b"])
def test_names_are_what_kubernetes_takes(name: str) -> None:
    made = object_name(name)
    assert len(made) <= LONGEST_NAME and made[0].isalpha() and made[-1].isalnum()
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
