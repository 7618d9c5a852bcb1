"""Settings of the deployed policy: where it comes from, and how its generators sample."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from actors.contract.decides import Decides
from actors.engine.config import EngineConfig
from actors.engine.port import Sampling
from pipelines.config.section import Section, check_revision


class ModelConfig(Section):
    """The deployed policy the run begins with."""

    source: Literal["clinic", "medsafety", "folder", "hub"] = Field(
        "folder",
        description="where it is from. clinic, medsafety: the tiny policy that the section of that name builds."
        " folder, hub: what path names",
    )
    path: str | None = Field(None, description="model folder, or hub id")
    revision: str | None = Field(
        None, min_length=1, description="branch, tag or commit of the hub id; None: the hub's main branch"
    )
    parameters_b: Annotated[float | None, Decides.RUN] = Field(
        None, gt=0, description="size in 10^9 parameters, for the plan of a model that is not on disk"
    )

    @model_validator(mode="after")
    def _needs_path(self) -> ModelConfig:
        if self.source in ("folder", "hub") and not self.path:
            raise ValueError(f"source {self.source!r} needs path: a model folder or a hub id")
        check_revision(self.source, self.revision)
        return self


class GenerateConfig(Section):
    """The generator pool."""

    actors: Annotated[int, Decides.NOTHING] = Field(
        1, ge=1, description="generators that answer prompts at the same time, each with an engine of its own"
    )
    cpus_per_actor: Annotated[float, Decides.NOTHING] = Field(
        1.0, ge=0, description="logical CPUs Ray reserves for one generator"
    )
    sampling: Sampling = Sampling()
    evaluation_max_tokens: int | None = Field(
        None, ge=1, description="longest greedy answer in evaluation; None: as in sampling"
    )
    engine: EngineConfig = EngineConfig()
    shard_timeout_s: Annotated[float, Decides.NOTHING] = Field(
        3600.0, gt=0, description="a generator that takes longer over one shard is ended and another put in its place"
    )

    def greedy(self) -> Sampling:
        """How the validation and test splits are answered: as the endpoint answers who asks for temperature 0.

        Everything else is left to the model's own defaults, whatever rollouts are sampled with.
        """
        return Sampling(k=1, temperature=0.0, max_tokens=self.evaluation_max_tokens or self.sampling.max_tokens)

    @property
    def longest_answer(self) -> int:
        """Of sampled and of greedy answers, in tokens."""
        return max(self.sampling.max_tokens, self.greedy().max_tokens)
