"""Settings that every kind of training shares: the adapter, the optimization, the workers and their devices."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class Settings(BaseModel):
    """Frozen settings with strict names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSettings(Settings):
    """A fresh LoRA adapter on the model; never on the output head, which TRL's loss reads directly."""

    rank: Count = 16
    alpha: Count = Field(default=32, description="the update is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field(
        default="all-linear", description="module names, or every linear layer but the output head"
    )


class Optimization(Settings):
    """How long, how fast and in which batches."""

    learning_rate: Positive = 5e-4
    epochs: Positive = 1.0
    batch_size: Count = Field(default=8, description="rows (DPO: pairs) per worker and forward pass")
    gradient_accumulation: Count = Field(default=1, description="forward passes per optimizer step")
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="share of all steps over which the rate rises")
    scheduler: Scheduler = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: Positive = Field(default=1.0, description="gradients are clipped to this norm")


class Workers(Settings):
    """The workers of one Ray Train run, their devices, and the precision they compute in."""

    workers_per_run: Count = 2
    cpus_per_worker: float = Field(default=0.5, ge=0, description="logical CPUs Ray reserves for one worker")
    gpus_per_worker: float = Field(default=0.0, ge=0)
    threads_per_worker: Count = Field(default=1, description="torch threads in each worker")
    fsdp: bool = Field(
        default=False, description="shard the model over the workers' GPUs (FSDP2) rather than copy it to each"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="computing precision on GPUs; a CPU always computes in float32"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="saves GPU memory for a fifth more time; never used on a CPU"
    )
    max_failures: int = Field(
        default=1, ge=0, description="restarts of a run after a worker died; what was finished is kept"
    )

    @model_validator(mode="after")
    def _fsdp_needs_gpus(self) -> Self:
        if self.fsdp and not self.gpus_per_worker:
            raise ValueError("fsdp shards over GPUs; set gpus_per_worker to 1, or fsdp to false")
        return self
