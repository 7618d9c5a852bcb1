"""How many replicas an endpoint has: Ray Serve's own autoscaling, as settings."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ReplicaScaling(BaseModel):
    """Bounds and pace of Ray Serve's autoscaler; names and meanings are those of `ray.serve.config.AutoscalingConfig`.

    Serve can also scale to none, and take a function as its policy. Neither is a setting here: a publication needs a
    replica that answers, and a function's name would be code from a settings file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: int = Field(default=1, ge=1, description="Replicas that are always there.")
    max_replicas: int = Field(ge=1, description="Replicas at the most; the plan counts these.")
    initial_replicas: int | None = Field(
        default=None, ge=1, description="Replicas that the endpoint starts with; None: min_replicas."
    )
    target_ongoing_requests: float = Field(
        default=16.0,
        gt=0,
        description="Requests that one replica is to answer at the same time; above, Serve adds one.",
    )
    upscale_delay_s: float = Field(default=30.0, ge=0, description="How long load lasts before a replica is added.")
    downscale_delay_s: float = Field(
        default=600.0, ge=0, description="How long load is low before a replica is taken away."
    )
    look_back_period_s: float = Field(default=30.0, gt=0, description="The time over which requests are averaged.")
    upscaling_factor: float | None = Field(
        default=None, gt=0, description="Gain of a step up; below 1 it adds fewer replicas at once; None: Serve's own."
    )
    downscaling_factor: float | None = Field(default=None, gt=0, description="Gain of a step down; None: Serve's own.")

    @property
    def first_replicas(self) -> int:
        """How many an endpoint starts with."""
        return self.initial_replicas or self.min_replicas

    def for_serve(self) -> dict[str, Any]:
        """What Ray Serve takes as a deployment's `autoscaling_config`."""
        return self.model_dump(exclude_none=True)

    @model_validator(mode="after")
    def _serve_takes_it(self) -> Self:
        # Ray Serve takes a second to import, and few recipes scale.
        from ray.serve.config import AutoscalingConfig

        try:
            AutoscalingConfig(**self.for_serve())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ").rstrip("!")
            raise ValueError(f"Ray Serve refuses publish.autoscaling: {first}; change these numbers") from error
        return self
