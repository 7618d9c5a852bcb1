"""What the settings of every training algorithm have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class Settings(BaseModel):
    """Frozen settings with strict names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimization(Settings):
    """How long, how fast and in which batches."""

    learning_rate: Positive = Field(default=5e-4, description="highest rate, at the end of the warm-up")
    epochs: Positive = Field(default=1.0, description="times each training row is seen")
    batch_size: Count = Field(default=8, description="rows (of pairs: pairs) per worker and forward pass")
    gradient_accumulation: Count = Field(default=1, description="forward passes per optimizer step")
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="share of all steps over which the rate rises")
    scheduler: Scheduler = Field(
        default="linear",
        description="the rate after the warm-up: falling to 0 in a line or a cosine, or constant; constant alone has no"
        " warm-up",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="how strongly weights are drawn to 0, as in AdamW")
    max_grad_norm: Positive = Field(default=1.0, description="gradients are clipped to this norm")


ALGORITHM_MEANS = "how it learns; may be left out where the challenger is called by it"


class Named(Settings):
    """The settings' first: whose they are."""

    algorithm: str = Field(description=ALGORITHM_MEANS)


class ChallengerConfig(Optimization, Named):
    """A challenger's settings; each algorithm adds its own."""


class ReferenceConfig(ChallengerConfig):
    """Settings of an algorithm whose loss compares with a reference model."""

    precompute_reference: bool = Field(
        default=False,
        description="score all rows with the reference model once, before training: pays from the second epoch on",
    )
