"""Settings of the red team: an attacker policy that rewrites harmful train prompts, and how much it may spend."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from actors.contract.decides import Decides
from actors.engine.config import EngineConfig
from actors.engine.port import Sampling
from pipelines.config.model import ModelConfig
from pipelines.config.section import InputPath, Section


class RedTeamConfig(Section):
    """Attacks on each cycle's champion. What succeeds is asked again in the next cycle, and learnt from there."""

    attacker: ModelConfig | None = Field(
        None, description="the model that rewrites prompts; None: the deployed policy attacks itself"
    )
    templates: InputPath | None = Field(
        None,
        description="file or folder of PyRIT's jailbreak templates, which are tried beside the rewrites; None: none",
    )
    prompts: int = Field(64, ge=1, description="most harmful train prompts of a cycle that are attacked, drawn anew")
    attempts: int = Field(4, ge=1, description="rewrites of each prompt; with templates as many of those as well")
    max_tokens: int = Field(
        100_000,
        ge=1,
        description="most tokens of a cycle's attacks, sampled by attacker and champion together. What is begun within"
        " them is ended",
    )
    rewrite_tokens: int = Field(128, ge=1, description="most tokens of one rewrite")
    temperature: float = Field(1.0, gt=0, description="of the attacker's sampling")
    engine: EngineConfig = Field(EngineConfig(), description="the attacker's engines")
    actors: Annotated[int, Decides.NOTHING] = Field(1, ge=1, description="attackers at the same time")
    cpus_per_actor: Annotated[float, Decides.NOTHING] = Field(
        1.0, ge=0, description="logical CPUs Ray reserves for one attacker"
    )

    @property
    def sampling(self) -> Sampling:
        """How rewrites are sampled."""
        return Sampling(k=self.attempts, temperature=self.temperature, max_tokens=self.rewrite_tokens)

    @model_validator(mode="after")
    def _has_room(self) -> RedTeamConfig:
        if self.rewrite_tokens >= self.engine.longest:
            raise ValueError(
                f"rewrite_tokens leaves no room for a request in engine.max_model_len ({self.engine.longest}); raise"
                " the latter"
            )
        return self
