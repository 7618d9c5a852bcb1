"""What a run measures of a policy's capability, and how much of it an aligned policy may lose."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.config.section import Section
from pipelines.data.sets.choices import ChoiceSource

LengthUnit = Literal["tokens", "characters"]
ChoiceForm = Literal["text", "letter"]


class CapabilityLimits(Section):
    """What a policy may lose against the deployed model and still be published. All our choice; None = not gated."""

    max_accuracy_drop: float | None = Field(0.05, ge=0, le=1, description="of multiple-choice accuracy")
    max_perplexity_ratio: float | None = Field(1.25, ge=1, description="of reference answers, policy over deployed")
    max_helpful_drop: float | None = Field(0.05, ge=0, le=1, description="of the share of harmless prompts accepted")


class CapabilityConfig(CapabilityLimits):
    """The questions, how they are asked, and the limits.

    Without choices and references only benign helpfulness is measured, which costs nothing more.
    """

    source: Literal["files", "medquad"] = Field(
        "files", description="medquad: both sets are made of MedQuAD's held-out questions (section medsafety)"
    )
    choices: str | None = Field(None, description="multiple-choice questions: a file, or a folder of them")
    format: ChoiceSource = Field("medqa", description="whose columns the choices have")
    references: str | None = Field(None, description="CSV, JSONL or Parquet with question and answer")
    max_questions: int = Field(500, ge=1, description="most of each kind and split, drawn by the run's seed")
    form: ChoiceForm = Field(
        "text",
        description="text: the options' own words are scored after the question alone. letter: they are listed under"
        " letters, and the letters are scored. The evaluation harness asks MedQA and CareQA so; a model must know"
        " that form",
    )
    normalised_by: LengthUnit | None = Field("tokens", description="what an option's log-likelihood is divided by")
    chat: bool = Field(True, description="ask under the chat template; false: plain text")
    questions_per_shard: int = Field(100, ge=1, description="questions one engine scores at a time")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.source == "medquad" and (self.choices or self.references):
            raise ValueError("source 'medquad' makes its own sets; leave choices and references out, or set 'files'")
        return self

    @property
    def limits(self) -> CapabilityLimits:
        """The limits alone, as a decision records them."""
        return CapabilityLimits(**{name: getattr(self, name) for name in CapabilityLimits.model_fields})
