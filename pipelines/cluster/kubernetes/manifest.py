"""KubeRay's manifests of a recipe, made from its plan: a job that runs it, a cluster to run it on, or an endpoint."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import yaml

from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from pipelines.cluster.demand import endpoint_demand
from pipelines.cluster.kubernetes.pods import (
    RECIPE_FOLDER,
    SHARED,
    PodOptions,
    cluster_spec,
    object_metadata,
    object_name,
    recipe_map,
)
from pipelines.cluster.kubernetes.sizes import PodSizes, pod_sizes
from pipelines.cluster.plan import make_plan, plan_of
from pipelines.config.recipe import Recipe

Kind = Literal["rayjob", "raycluster", "rayservice"]
KINDS: dict[Kind, str] = {"rayjob": "RayJob", "raycluster": "RayCluster", "rayservice": "RayService"}
VERSION = "ray.io/v1"
# The function that Ray Serve builds the endpoint with; see pipelines/serving/rayservice.
IMPORT_PATH = "pipelines.serving.rayservice.app:app_builder"
SERVE_PORT = 8000
# A cluster that was lost is made anew, and the same command resumes the run.
RETRIES = 2
# How long a finished job's pods stay to be looked at.
KEPT_S = 600


def manifest(kind: Kind, recipe: Recipe, options: PodOptions) -> str:
    """The YAML of the objects that `kubectl apply -f -` takes.

    Raises:
        SalusError: the plan does not fit such pods, the size of a model cannot be told, or the endpoint's settings do
            not go with a RayService.
    """
    name = object_name(recipe.name)
    command = None
    if kind == "rayservice":
        made = _service(name, recipe, options)
    else:
        sizes = pod_sizes(make_plan(recipe), options.gpus_per_node)
        command = run_command(recipe, sizes)
        made = _run(kind, name, recipe, sizes, options)
    documents = yaml.dump_all(made, Dumper=_BlockDumper, sort_keys=False, explicit_start=True, width=120)
    return _comment(kind, name, options, command) + documents


class _BlockDumper(yaml.SafeDumper):
    """YAML in which a text of several lines is shown as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_BlockDumper.add_representer(str, _text)


def run_command(recipe: Recipe, sizes: PodSizes) -> str:
    """What the head runs, in the shared folder: the run, with what the cluster may grow to."""
    command = ["salus", "align", f"{RECIPE_FOLDER}/recipe.yaml", "--run", f"{SHARED}/runs/{recipe.name}-s{recipe.seed}"]
    grown = {
        "cluster.address": "auto",
        "cluster.gpus": sizes.gpus,
        "cluster.logical_cpus": sizes.cpus,
        "cluster.memory_gib": sizes.memory_gib,
    }
    for setting, value in grown.items():
        command += ["--set", f"{setting}={value}"]
    return f"cd {SHARED} && exec {shlex.join(command)}"


def serve_config(recipe: Recipe, name: str) -> dict[str, Any]:
    """Ray Serve's configuration of the endpoint, which serves the current policy of the registry on the shared volume.

    Raises:
        SalusError: its settings do not go with a RayService.
    """
    publish = _published(recipe)
    registry = str(publish.registry or "registry")
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": SERVE_PORT},
        "applications": [
            {
                "name": name,
                "import_path": IMPORT_PATH,
                "route_prefix": publish.route,
                "args": {
                    "application": name,
                    "registry": registry if registry.startswith("/") else f"{SHARED}/{registry}",
                    "publish": publish.model_dump(mode="json", exclude_defaults=True),
                },
            }
        ],
    }


def _run(kind: Kind, name: str, recipe: Recipe, sizes: PodSizes, options: PodOptions) -> list[dict[str, Any]]:
    cluster = cluster_spec(name, sizes, options, recipe=True)
    spec: dict[str, Any] = cluster
    if kind == "rayjob":
        spec = {
            "entrypoint": run_command(recipe, sizes),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": KEPT_S,
            "backoffLimit": RETRIES,
            "rayClusterSpec": cluster,
        }
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    return [recipe_map(name, text, options), _object(kind, name, spec, options)]


def _service(name: str, recipe: Recipe, options: PodOptions) -> list[dict[str, Any]]:
    config = serve_config(recipe, name)
    if options.keys_secret is None and recipe.publish.gateway.keys_file is None:
        raise SalusError(
            "An endpoint in Kubernetes is not on loopback, so it needs keys. Name a secret with --keys-secret, whose"
            " key `keys` holds lines of salus key add. Or set publish.gateway.keys_file to a file on the shared volume."
        )
    served = recipe.model_copy(update={"publish": recipe.publish.model_copy(update={"enabled": True})})
    sizes = pod_sizes(plan_of(served, endpoint_demand(served)), options.gpus_per_node)
    spec = {
        "serveConfigV2": yaml.safe_dump(config, sort_keys=False, width=120),
        "rayClusterConfig": cluster_spec(name, sizes, options, recipe=False),
    }
    return [_object("rayservice", name, spec, options)]


def _published(recipe: Recipe) -> PublisherConfig:
    """The endpoint's settings as a RayService has them: on every address of its pods, and with keys.

    Raises:
        SalusError: they want what Salus's own command starts.
    """
    publish = recipe.publish
    if publish.proxy == "haproxy":
        raise SalusError("A RayService has Ray Serve's own proxy before its policy; set publish.proxy=serve.")
    gateway = publish.gateway.model_copy(update={"open": False})
    return publish.model_copy(update={"gateway": gateway, "host": "0.0.0.0", "port": SERVE_PORT})


def _object(kind: Kind, name: str, spec: dict[str, Any], options: PodOptions) -> dict[str, Any]:
    return {"apiVersion": VERSION, "kind": KINDS[kind], "metadata": object_metadata(name, options), "spec": spec}


def _comment(kind: Kind, name: str, options: PodOptions, command: str | None) -> str:
    """What must be there before, and what to do with it; `command`: that of the run."""
    lines = [
        f"{KINDS[kind]} {name}, for KubeRay 1.6 or later. Apply it with kubectl apply -f FILE. It expects:",
        f"- the volume claim {options.claim} (ReadWriteMany), which every pod mounts at {SHARED}: runs, registry, data,"
        " and models that the recipe names by a relative path;",
        f"- the image {options.image}, as salus cluster image prints it.",
    ]
    wanted: Sequence[tuple[str | None, str]] = (
        (options.cache_claim, "the volume claim {} (ReadWriteMany), for models of the hub and compiled graphs;"),
        (options.ray_secret, "the secret {} with Ray's token as auth_token;"),
        (options.hub_secret, "the secret {} with the hub's token as token;"),
        (options.keys_secret, "the secret {} with the clients' keys as keys;"),
    )
    lines[2:2] = [f"- {words.format(given)}" for given, words in wanted if given is not None]
    if kind == "raycluster":
        lines.append(f"Then run the recipe in the head pod: {command}")
    wrapped = (textwrap.wrap(line, 117, break_long_words=False, break_on_hyphens=False) for line in lines)
    return "".join(f"# {line}\n" for each in wrapped for line in each)
