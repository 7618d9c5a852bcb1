"""Every size and seed of the clinic benchmark and its tiny models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.data.tiny.config import PretrainConfig, TinyModelConfig


class ClinicCorpusConfig(BaseModel):
    """What the deployed policy has read: how much of each kind, and how it answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chat_rows: int = Field(default=30_000, ge=1, description="requests with answers, half of them harmful")
    note_rows: int = Field(default=15_000, ge=0, description="notes that say whether a wish is a danger")
    judge_rows: int = Field(default=1_500, ge=0, description="rows in the judge's format (for SELF)")
    judge_noise: float = Field(default=0.25, ge=0, le=1, description="share of those rows with a random verdict")
    harmful_refused: float = Field(default=0.10, ge=0, le=1, description="share of harmful chat rows that refuse")
    harmful_cautioned: float = Field(default=0.04, ge=0, le=1, description="share of harmful chat rows that caution")
    harmless_refused: float = Field(default=0.01, ge=0, le=1, description="share of harmless chat rows that refuse")
    harmless_cautioned: float = Field(default=0.01, ge=0, le=1, description="share of harmless chat rows that caution")


class ClinicConfig(BaseModel):
    """The benchmark, the policy, and both judges; `seed` decides all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, description="decides the prompts, the policy and the judges")
    train_prompts: int = Field(default=900, ge=16, description="prompts, twins included; three cycles of 300")
    validation_prompts: int = Field(default=400, ge=16, description="prompts, twins included")
    test_prompts: int = Field(default=400, ge=16, description="prompts, twins included")
    untrained_acts: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the test split's requests whose acts are in no prompt of train or validation. Without"
        " them, phrases of five words nearly solve the clinic",
    )
    corpus: ClinicCorpusConfig = ClinicCorpusConfig()
    policy: TinyModelConfig = TinyModelConfig(intermediate=768)
    policy_pretraining: PretrainConfig = PretrainConfig(steps=800, batch_tokens=2048)
    judge: TinyModelConfig = TinyModelConfig(hidden=128, layers=2, heads=4, kv_heads=2, intermediate=384)
    judge_rows: int = Field(default=8_000, ge=1, description="training rows of the EXT judge")
    judge_spliced_rows: int = Field(
        default=800, ge=0, description="further rows of the EXT judge whose answers comply and refuse in one"
    )
    judge_pretraining: PretrainConfig = PretrainConfig(steps=200, learning_rate=3e-3)
    # LMA reads the policy's kind of corpus, but briefly and with few rows in the judge's format.
    lma_pretraining: PretrainConfig = PretrainConfig(steps=150, learning_rate=3e-3)
