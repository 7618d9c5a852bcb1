"""Whether and how a challenger answers live requests unseen; cheap to import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.contract.actor_address import ActorAddress
from actors.contract.records import Record

SHADOW_ACTOR = "salus-shadow"
# Above this Ray puts what is handed over into its object store, which may spill to disk; prompts are not redacted yet.
MOST_BYTES = 65_536


class ShadowConfig(BaseModel):
    """Settings of shadow mode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = Field(
        min_length=1,
        description="the challenger: a version of the registry, a model folder, or RUN/c2-kto for a run's challenger",
    )
    share: float = Field(
        0.1, gt=0, le=1, description="share of the requests that may be kept that it answers too, by the answer's id"
    )
    seed: int = Field(0, ge=0, description="of that draw, and of its answers")
    consent: Literal["opt_in", "given"] = Field(
        "opt_in",
        description='opt_in: only requests that say "store": true are answered and kept; given: all, because the'
        " endpoint's operator has the consent of its users otherwise",
    )
    folder: Path | None = Field(
        None,
        description="where prompts and both answers are kept, by the redactor and for the retention_days of"
        " publish.feedback; None: shadow/ of the registry",
    )
    queue: int = Field(
        256, ge=1, le=10_000, description="most requests that wait for it; more are dropped and counted, none is slowed"
    )
    batch: int = Field(16, ge=1, description="most requests it answers at a time")
    batch_wait_s: float = Field(0.5, ge=0, description="how long a batch is waited for to be full")
    timeout_s: float = Field(600.0, gt=0, description="how long a replica waits to hear that an answer is kept")
    cpus: float = Field(1.0, gt=0, description="logical CPUs of its engine")
    gpus: float = Field(0.0, ge=0, description="GPUs of its engine; a fraction shares one GPU")
    kv_cache_gib: float = Field(0.25, gt=0, description="KV cache of its engine on CPU")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of a GPU's memory its engine may take")

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError("gpus above 1 are whole: the engine spans them; below 1 it shares one")
        return self


class ShadowLink(Record):
    """What a replica is told: where the challenger is, and what to hand it."""

    config: ShadowConfig
    challenger: ActorAddress


def shadow_cpus(config: ShadowConfig | None) -> float:
    """Logical CPUs that shadow mode reserves beside the endpoint."""
    return config.cpus if config is not None else 0.0
