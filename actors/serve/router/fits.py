"""Whether one policy's engine fits: the settings it needs beside those of the endpoint, and room in the cluster."""

from __future__ import annotations

import time
from typing import Any, Literal

import ray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.contract.growth import may_have
from actors.errors import SalusError
from actors.serve.config import PublisherConfig, publisher_cpus, publisher_gpus
from actors.serve.scaling import ReplicaScaling


class EngineSettings(BaseModel):
    """Settings of `publish` for one model or policy; what is left out is as for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int | None = Field(
        None, ge=1, description="copies of it, always as many; None: as publish says, also how it scales"
    )
    autoscaling: ReplicaScaling | None = Field(
        None, description="Ray Serve's autoscaling of it, in the place of replicas; None: as publish says"
    )
    cpus_per_replica: float | None = Field(
        None, gt=0, description="logical CPUs of one replica, all workers together; None: as publish says"
    )
    gpus_per_replica: float | None = Field(
        None, ge=0, description="GPUs of one replica; a fraction shares one GPU; None: as publish says"
    )
    tensor_parallel_size: int | None = Field(
        None, ge=1, description="workers one replica's weights are split over; None: as publish says"
    )
    max_model_len: int | None = Field(
        None, ge=16, description="tokens of prompt and answer together; None: as publish says"
    )
    max_num_seqs: int | None = Field(
        None, ge=1, description="answers one replica decodes at the same time; None: as publish says"
    )
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="precision of the weights and of computing; None: as publish says"
    )
    enforce_eager: bool | None = Field(
        None, description="no graph capture or compilation, for a faster start; None: as publish says"
    )
    kv_cache_gib: float | None = Field(None, gt=0, description="KV cache of one replica on CPU; None: as publish says")
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="share of a GPU's memory vLLM may take; None: as publish says"
    )


def engine_config(config: PublisherConfig, *settings: EngineSettings) -> PublisherConfig:
    """The endpoint's settings with those of one policy in their place, the last said last.

    Raises:
        SalusError: together they do not fit.
    """
    said = config.model_dump()
    for each in settings:
        if each.replicas is not None:
            # A number of its own, in the place of what scales others.
            said["autoscaling"] = None
        said |= each.model_dump(exclude_none=True)
    return _fitting(said)


def with_engines_of(config: PublisherConfig, other: PublisherConfig) -> PublisherConfig:
    """The endpoint's settings with all that another's say of its engines, also what they leave unset.

    Raises:
        SalusError: together they do not fit.
    """
    return _fitting(config.model_dump() | {name: getattr(other, name) for name in EngineSettings.model_fields})


def _fitting(said: dict[str, Any]) -> PublisherConfig:
    try:
        return PublisherConfig.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise SalusError(f"The engine settings of {said['model_id']} do not fit: {first}.") from error


# Ray tells what became free some moments later.
_SETTLE_S = 5.0
_LOOK_S = 0.25


def check_room(config: PublisherConfig, version: str, beside: str) -> None:
    """Refuse an application that does not fit beside the one it is to replace.

    Raises:
        SalusError: too few CPUs or GPUs are free, also counting those an autoscaler may still add.
    """
    needs = {"CPU": publisher_cpus(config), "GPU": publisher_gpus(config)}
    deadline = time.monotonic() + _SETTLE_S
    while missing := missing_of(needs, free_resources()):
        if time.monotonic() > deadline:
            raise SalusError(
                f"{version} needs an application beside that of {beside} until it answers: {missing}. Add to the"
                " cluster (an embedded Ray: cluster.logical_cpus), lower its replicas, or end the endpoint and start"
                f" it anew with {version}."
            )
        time.sleep(_LOOK_S)


def missing_of(needs: dict[str, float], free: dict[str, float]) -> str:
    """What is short, in words; empty where all is there."""
    short = [(kind, need) for kind, need in needs.items() if need > free.get(kind, 0.0) + 1e-6]
    return ", ".join(f"{need:g} logical {kind}s, and {free.get(kind, 0.0):g} are free" for kind, need in short)


def free_resources() -> dict[str, float]:
    """What is not reserved, and what an autoscaler may add."""
    free: dict[str, float] = ray.available_resources()
    there: dict[str, float] = ray.cluster_resources()
    return {kind: free.get(kind, 0.0) + most - there.get(kind, 0.0) for kind, most in may_have().items()}
