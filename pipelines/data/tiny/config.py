"""The size of a tiny model and of its pretraining; kept from torch, so that reading a recipe stays quick."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TinyModelConfig(BaseModel):
    """The shape of a tiny Llama; the defaults give about 3.2 million parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(default=256, ge=8, description="width of the residual stream")
    layers: int = Field(default=3, ge=1, description="transformer blocks, one upon another")
    heads: int = Field(default=4, ge=1, description="query heads; must divide `hidden`")
    kv_heads: int = Field(default=2, ge=1, description="key/value heads; must divide `heads`")
    intermediate: int = Field(default=1024, ge=8, description="width of the gated feed-forward layer")
    vocabulary: int = Field(default=1024, ge=1, description="most tokens the tokenizer may have")
    max_positions: int = Field(default=256, ge=8, description="longest prompt + answer in tokens")
    seed: int = Field(default=0, description="decides the fresh weights")


class PretrainConfig(BaseModel):
    """How long and how fast a tiny model learns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=800, ge=1, description="optimizer steps")
    batch_tokens: int = Field(default=3072, ge=64, description="tokens in a batch, padding included")
    learning_rate: float = Field(default=2e-3, gt=0, description="highest rate, at the end of the warm-up")
    warmup_steps: int = Field(default=50, ge=0, description="optimizer steps over which the rate rises")
    final_learning_rate_share: float = Field(default=0.05, ge=0, le=1, description="share of the rate left at the end")
    weight_decay: float = Field(default=0.05, ge=0, description="how strongly weights are drawn to 0, as in AdamW")
    context_tokens: int = Field(default=128, ge=8, description="longer documents are cut into pieces of this length")
    seed: int = Field(default=0, description="decides the order of the rows")
