"""A Ray cluster as KubeRay describes it: pods, volumes, environment, and the token that every process shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from pydantic import Field, field_validator

from actors.contract.records import Record
from actors.errors import SalusError
from actors.serve.proxy.environment import PATIENT, PROTECTED
from pipelines.cluster.kubernetes.sizes import PodSize, PodSizes

# Where the shared volume is in every pod; relative paths of a recipe are below it.
SHARED = "/mnt/salus"
CACHE = "/mnt/salus-cache"
RECIPE_FOLDER = "/etc/salus"
# The user that the image makes.
USER = 1000
# KubeRay adds up to 23 letters to a name, and Kubernetes takes 63.
LONGEST_NAME = 40
RECIPE_VOLUME = "recipe"
# Kubernetes' names of objects, and of labels, resources and taints with their prefix.
_OBJECT = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9./_-]*[A-Za-z0-9])?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class PodOptions(Record):
    """What the plan cannot know of a Kubernetes cluster."""

    image: str = Field(pattern=r"^[^\s]+$", max_length=512)
    claim: str = Field(default="salus", pattern=_OBJECT, max_length=253)
    cache_claim: str | None = Field(default=None, pattern=_OBJECT, max_length=253)
    namespace: str | None = Field(default=None, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)
    # Secrets: Ray's token (key auth_token), the hub's (key token), and the clients' keys (key keys).
    ray_secret: str | None = Field(default=None, pattern=_OBJECT, max_length=253)
    hub_secret: str | None = Field(default=None, pattern=_OBJECT, max_length=253)
    keys_secret: str | None = Field(default=None, pattern=_OBJECT, max_length=253)
    gpus_per_node: int = Field(default=8, ge=1)
    gpu_resource: str = Field(default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    # Of the workers alone: the head needs no GPU node.
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, str], ...] = ()
    idle_s: int = Field(default=600, ge=60)

    @field_validator("node_selector")
    @classmethod
    def _labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for key, value in labels.items():
            if not _LABEL.fullmatch(key) or (value and not _LABEL.fullmatch(value)):
                raise ValueError(f"{key}={value} is no label of a node")
        return labels


def selector_of(labels: list[str]) -> dict[str, str]:
    """A node selector from KEY=VALUE each.

    Raises:
        SalusError: one is no such pair.
    """
    pairs = [label.partition("=") for label in labels]
    if wrong := [label for label, (key, equals, _) in zip(labels, pairs, strict=True) if not (key and equals)]:
        raise SalusError(f"{wrong[0]} is no label of a node; give --node-selector KEY=VALUE.")
    return {key: value for key, _, value in pairs}


def toleration_of(taint: str) -> dict[str, str]:
    """A toleration from a taint as kubectl prints it: KEY, KEY:EFFECT or KEY=VALUE:EFFECT.

    Raises:
        SalusError: it is no taint.
    """
    found = re.fullmatch(rf"(?P<key>{_LABEL.pattern})(=(?P<value>{_LABEL.pattern}))?(:(?P<effect>[A-Za-z]+))?", taint)
    if found is None or found["effect"] not in (None, *_EFFECTS):
        raise SalusError(
            f"{taint} is no taint; give --toleration KEY, KEY:EFFECT or KEY=VALUE:EFFECT, with an effect of"
            f" {', '.join(_EFFECTS)}."
        )
    made = {"key": found["key"], "operator": "Exists" if found["value"] is None else "Equal"}
    if found["value"] is not None:
        made["value"] = found["value"]
    return made if found["effect"] is None else made | {"effect": found["effect"]}


def object_name(recipe: str) -> str:
    """The name of a recipe's objects in Kubernetes, which begins with a letter and has no dots."""
    return f"salus-{re.sub(r'[^a-z0-9]+', '-', recipe)}"[:LONGEST_NAME].strip("-")


def object_metadata(name: str, options: PodOptions) -> dict[str, Any]:
    """The metadata of an object of this name."""
    made: dict[str, Any] = {"name": name, "labels": {"app.kubernetes.io/name": "salus"}}
    return made if options.namespace is None else made | {"namespace": options.namespace}


def recipe_map(name: str, text: str, options: PodOptions) -> dict[str, Any]:
    """The object that holds the recipe which the head reads."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object_metadata(f"{name}-recipe", options),
        "data": {"recipe.yaml": text},
    }


def cluster_spec(name: str, sizes: PodSizes, options: PodOptions, *, recipe: bool) -> dict[str, Any]:
    """KubeRay's RayClusterSpec. `recipe`: whether the head has the recipe of `recipe_map` in `RECIPE_FOLDER`."""
    auth = {"mode": "token"} | ({"secretName": options.ray_secret} if options.ray_secret is not None else {})
    return {
        "rayVersion": metadata.version("ray"),
        "authOptions": auth,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"idleTimeoutSeconds": options.idle_s, "upscalingMode": "Default"},
        "headGroupSpec": {
            # No engine or trainer is ever placed on the head.
            "rayStartParams": {"num-gpus": "0"},
            "template": _template("ray-head", sizes.head, options, name if recipe else None),
        },
        "workerGroupSpecs": [
            {
                "groupName": "gpu" if sizes.worker.gpus else "cpu",
                "replicas": 0,
                "minReplicas": 0,
                "maxReplicas": sizes.most,
                "rayStartParams": {},
                "template": _template("ray-worker", sizes.worker, options, None),
            }
        ],
    }


def _template(container: str, size: PodSize, options: PodOptions, recipe: str | None) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [_volume("shared", options.claim)]
    mounts = [{"name": "shared", "mountPath": SHARED}]
    if options.cache_claim is not None:
        volumes.append(_volume("cache", options.cache_claim))
        mounts.append({"name": "cache", "mountPath": CACHE})
    if recipe is not None:
        volumes.append({"name": RECIPE_VOLUME, "configMap": {"name": f"{recipe}-recipe"}})
        mounts.append({"name": RECIPE_VOLUME, "mountPath": RECIPE_FOLDER})
    pod: dict[str, Any] = {
        # Ray's autoscaler knows a pod as one node: what ended is replaced, and never started again.
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": container,
                "image": options.image,
                "workingDir": SHARED,
                "env": _environment(options),
                "resources": _resources(size, options),
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
    if container == "ray-worker":
        pod |= {"nodeSelector": dict(options.node_selector)} if options.node_selector else {}
        pod |= {"tolerations": [dict(each) for each in options.tolerations]} if options.tolerations else {}
    return {"spec": pod}


def _volume(name: str, claim: str) -> dict[str, Any]:
    return {"name": name, "persistentVolumeClaim": {"claimName": claim}}


def _resources(size: PodSize, options: PodOptions) -> dict[str, Any]:
    # Ray reads what a node has from the limits.
    amounts = {"cpu": str(size.cpus), "memory": f"{size.memory_gib}Gi"}
    if size.gpus:
        amounts[options.gpu_resource] = str(size.gpus)
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _environment(options: PodOptions) -> list[dict[str, Any]]:
    cache = CACHE if options.cache_claim is not None else f"{SHARED}/cache"
    values = {
        **PATIENT,
        **PROTECTED,
        # An actor without a GPU must not see those of its node.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Models and compiled graphs are fetched and made once for all pods.
        "HF_HOME": f"{cache}/huggingface",
        "VLLM_CACHE_ROOT": f"{cache}/vllm",
        "SALUS_CACHE": f"{cache}/salus",
    }
    made: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    secrets: Mapping[str, tuple[str | None, str]] = {
        "HF_TOKEN": (options.hub_secret, "token"),
        "SALUS_API_KEYS": (options.keys_secret, "keys"),
    }
    for name, (secret, key) in secrets.items():
        if secret is not None:
            made.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return made
