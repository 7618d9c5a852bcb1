"""What one policy's engine needs that others of the same endpoint do not."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.errors import SalusError
from actors.serve.config import PublisherConfig


class EngineSettings(BaseModel):
    """Settings of `publish` for one model or policy; what is left out is as for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int | None = Field(None, ge=1)
    cpus_per_replica: float | None = Field(None, gt=0)
    gpus_per_replica: float | None = Field(None, ge=0)
    tensor_parallel_size: int | None = Field(None, ge=1)
    max_model_len: int | None = Field(None, ge=16)
    max_num_seqs: int | None = Field(None, ge=1)
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    enforce_eager: bool | None = None
    kv_cache_gib: float | None = Field(None, gt=0)
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)


def engine_config(config: PublisherConfig, *settings: EngineSettings) -> PublisherConfig:
    """The endpoint's settings with those of one policy in their place, the last said last.

    Raises:
        SalusError: together they do not fit.
    """
    said = config.model_dump()
    for each in settings:
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
