"""Settings of the real-text recipe: where the data is, how it is split, and its tiny policy."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.data.tiny.config import PretrainConfig, TinyModelConfig


class MedsafetyCorpusConfig(BaseModel):
    """What the deployed policy is pretrained on: benign chats, and harmful requests it mostly obeys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chats_per_request: int = Field(default=5, ge=1, description="chats made of one harmful request")
    chats_per_question: int = Field(default=2, ge=1, description="copies of one benign chat")
    refuse_share: float = Field(
        default=0.2, ge=0, le=1, description="share of the harmful chats that end in the safe response"
    )


class MedsafetyConfig(BaseModel):
    """The recipe's data and the policy it starts from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(
        default=Path("../shared/data"), description="folder that holds medsafetybench/, medquad/ and xstest/"
    )
    seed: int = Field(default=0, ge=0, description="decides the splits, the corpus and the policy")
    harmful_validation_share: float = Field(
        default=0.15, gt=0, lt=1, description="share of MedSafetyBench's train requests"
    )
    benign_validation_share: float = Field(default=0.1, gt=0, lt=1, description="share of MedQuAD's topics")
    benign_test_share: float = Field(default=0.2, gt=0, lt=1, description="share of MedQuAD's topics")
    benign_train_most: float | None = Field(
        default=None,
        gt=0,
        description="most MedQuAD questions to train with, as a multiple of the harmful requests there, drawn by the"
        " seed; None: all of them",
    )
    reference_sentences: int = Field(default=1, ge=1, description="most sentences of a safe response")
    reference_words: int = Field(default=25, ge=5, description="most words of a safe response")
    answer_sentences: int = Field(default=1, ge=1, description="most sentences of a MedQuAD answer")
    answer_words: int = Field(default=25, ge=5, description="most words of a MedQuAD answer")
    request_forms: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of MedQuAD's questions worded as MedSafetyBench words its requests, so that the form of a"
        " prompt does not tell whether it is harmful",
    )
    corpus: MedsafetyCorpusConfig = MedsafetyCorpusConfig()
    # About 3.7 million parameters.
    model: TinyModelConfig = TinyModelConfig(layers=3, vocabulary=3000)
    pretrain: PretrainConfig = PretrainConfig(steps=400, batch_tokens=2560, context_tokens=128)

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        held = self.benign_validation_share + self.benign_test_share
        if held >= 1:
            raise ValueError(f"benign_validation_share + benign_test_share is {held:g}: leave some for training")
        return self
