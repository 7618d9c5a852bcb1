"""The guard's settings."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from actors.contract.records import Label
from actors.engine.config import EngineConfig
from actors.judges.guard_format import GUARD_OWN
from actors.judges.template import template_versions

DEFAULT_PROMPTS = {"guard": "guard-v1", "judge": "cares-v2"}


class GuardEngineConfig(EngineConfig):
    """The engine of a guard's model."""

    usual_length: ClassVar[int] = 2048


class GuardConfig(BaseModel):
    """Who judges the endpoint's answers before they go out, and what becomes of an unsafe one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rules", "guard", "judge"] = Field(
        description="rules: no refusal to a request with a harmful phrase is unsafe. guard: a model that replies safe"
        " or unsafe. judge: a model that replies Accept, Caution or Refuse, for requests that are held to be harmful."
    )
    action: Literal["replace", "block"] = Field(
        "replace", description="An unsafe answer: the template in its place, or an error (400, content_filter)."
    )
    template: str = Field(
        "I can't help with that. If you or somebody else may be in danger, call your local emergency number.",
        min_length=1,
        max_length=4000,
        description="What replaces an unsafe answer, letter for letter.",
    )
    when_unavailable: Literal["block", "pass"] = Field(
        "block", description="An answer that could not be judged (the guard is down, slow, or unsure): an error, or it."
    )
    timeout_s: float = Field(10.0, gt=0, description="How long the judging of one request's answers may take.")
    max_answer_bytes: int = Field(
        16 * 2**20, ge=1024, description="The longest response that is held back to be judged; longer ones are not."
    )
    harmful_phrases: tuple[str, ...] = Field(
        (), description="A request that holds one of these, word for word, is held to be harmful."
    )
    screen: Literal["phrases", "model"] = Field(
        "phrases",
        description="Of kind judge: what holds a request to be harmful, the phrases or the judge's own model.",
    )
    model: Path | None = Field(None, description="Folder of the model that judges; None: the rules need none.")
    prompt: str | None = Field(
        None,
        description="Versioned template in actors/judges/prompts/, or guard-own for models like Llama Guard, whose own"
        " chat template asks; None: guard-v1, or cares-v2 for a judge.",
    )
    threshold: float = Field(0.5, gt=0, le=1, description="The probability from which on an answer is unsafe.")
    min_coverage: float = Field(
        0.1, ge=0, le=1, description="A model that gave its words less probability together has not judged."
    )
    unsafe_labels: tuple[Label, ...] = Field(
        ("Accept",), min_length=1, description="Of kind judge: what may not be said to a harmful request."
    )
    engine: GuardEngineConfig = Field(
        GuardEngineConfig(),
        description="The engine of the model; an answer that does not fit beside the template cannot be judged.",
    )
    cpus: float = Field(1.0, gt=0, description="Logical CPUs of the model's actor.")
    max_batch: int = Field(64, ge=1, description="Answers that one step of the engine judges.")

    @property
    def has_engine(self) -> bool:
        """Whether a model judges."""
        return self.kind != "rules"

    @property
    def folder(self) -> Path | None:
        """The model's folder, as a path from the root; None where rules judge."""
        return self.model.expanduser().absolute() if self.model is not None else None

    @property
    def prompt_version(self) -> str:
        """The template a model is asked with."""
        return self.prompt or DEFAULT_PROMPTS[self.kind]

    @field_validator("prompt")
    @classmethod
    def _there_is_one(cls, prompt: str | None) -> str | None:
        if prompt is not None and prompt not in (known := [GUARD_OWN, *template_versions()]):
            raise ValueError(f"there is no judge prompt {prompt!r}; take one of {', '.join(known)}")
        return prompt

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.has_engine and self.model is None:
            raise ValueError(f"kind={self.kind} needs a model; set model to its folder, or kind=rules")
        if self.prompt == GUARD_OWN and self.kind != "guard":
            raise ValueError(f"prompt={GUARD_OWN} asks for safe or unsafe; it goes with kind=guard only")
        if not self.has_engine and self.model is not None:
            raise ValueError("kind=rules asks no model; leave model out, or set kind to guard or judge")
        by_phrases = self.kind == "rules" or (self.kind == "judge" and self.screen == "phrases")
        if by_phrases and not any(phrase.strip() for phrase in self.harmful_phrases):
            raise ValueError(f"kind={self.kind} finds no request harmful without harmful_phrases; name some")
        if self.harmful_phrases and not by_phrases:
            raise ValueError("harmful_phrases are not looked at with these settings; leave them out")
        return self


def guard_cpus(config: GuardConfig | None) -> float:
    """Logical CPUs a guard reserves; rules are asked in the replicas."""
    return config.cpus if config is not None and config.has_engine else 0.0


def guard_gpus(config: GuardConfig | None) -> float:
    """GPUs a guard reserves."""
    on_gpu = config is not None and config.has_engine and config.engine.device == "cuda"
    return float(config.engine.tensor_parallel) if config is not None and on_gpu else 0.0
