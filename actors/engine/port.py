"""The inference port: what generators and judges need of an engine (load, generate, score labels and texts).

An engine lives as long as its actor: policies are swapped by reloading weights, never by restarting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from actors.contract.records import PolicyRef, Record
from actors.errors import SalusError


class Sampling(BaseModel):
    """How answers are drawn. `temperature` 0 is greedy.

    What is None is left to the model's own defaults (`actors.engine.sampling_defaults`), as the endpoint does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(4, ge=1, description="answers per prompt")
    temperature: float = Field(1.0, ge=0, description="spread of the draw; 0: always the likeliest token")
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="tokens are drawn from the likeliest that have this probability together; None: as the model's"
        " generation_config.json says, else 1",
    )
    top_k: int | None = Field(
        None, ge=0, description="tokens are drawn from so many likeliest; 0: from all; None: as the model says, else 0"
    )
    min_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="tokens under this share of the likeliest one's probability are not drawn; None: as the model says,"
        " else 0",
    )
    repetition_penalty: float | None = Field(
        None,
        gt=0,
        description="over 1: tokens of the prompt and the answer so far are less likely, also greedily; None: as the"
        " model says, else 1",
    )
    stop: tuple[str, ...] = Field(
        (), description="texts that end an answer and are left out of it, for sampled answers; greedy ones have none"
    )
    max_tokens: int = Field(64, ge=1, description="longest answer, in tokens")

    @field_validator("stop")
    @classmethod
    def _stops_are_texts(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if not all(stop):
            raise ValueError("an empty text would end every answer at once; leave it out")
        return stop


class Completion(BaseModel):
    """One sampled answer."""

    model_config = ConfigDict(frozen=True)

    text: str
    tokens: int
    finish_reason: str


class Continuation(Record):
    """How likely a given text is after a prompt."""

    # Nats, summed over the continuation's tokens; the text before it is given.
    log_likelihood: float
    tokens: int
    # Whether each of its tokens was the likeliest one: greedy decoding would have written just this.
    greedy: bool


class Engine(Protocol):
    """What generators and judges need of an inference engine."""

    tokenizer: Any
    max_model_len: int

    def load(self, policy: PolicyRef) -> None:
        """Serve `policy` from now on; nothing of the former policy remains cached."""

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        """`sampling.k` answers for each tokenised prompt; `seeds[i]` fixes all draws of prompt i.

        What the sampling leaves to the model is as the loaded policy's folder says.
        """

    def score_next(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        """Log-probability of each of `token_ids` as the next token; shape (prompts, token_ids)."""

    def log_likelihoods(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> list[Continuation]:
        """How likely each continuation is after its prompt, both in tokens; nothing is sampled.

        Raises `SalusError` where one of the two is empty, or both together do not fit (see `check_continuations`).
        """


class RestingEngine(Protocol):
    """What an engine that leaves its device to others between its turns offers besides."""

    @property
    def can_sleep(self) -> bool:
        """Whether it can keep its process and give back what it holds of the device; one on a CPU cannot."""

    def sleep(self) -> None:
        """Give back weights and cache. What is asked next wakes it first, with the weights that are wanted then."""

    def close(self) -> None:
        """Give back the device for good; nothing may be asked afterwards."""


def check_continuations(
    prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], max_model_len: int
) -> None:
    """Refuse what an engine cannot score: an empty side, or more tokens than fit beside the one it must decode.

    Raises:
        SalusError: names the first such sequence by its place.
    """
    for row, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        if not prompt or not continuation:
            empty = "continuation" if prompt else "prompt"
            raise SalusError(f"Sequence {row} (from 0) has an empty {empty}: give at least one token of each.")
        if len(prompt) + len(continuation) >= max_model_len:
            raise SalusError(
                f"Sequence {row} (from 0) has {len(prompt) + len(continuation)} tokens, but only {max_model_len - 1}"
                " fit beside one decoded token; raise the engine's max_model_len or shorten it."
            )
