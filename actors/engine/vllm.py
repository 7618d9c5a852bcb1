"""The inference port (load, generate, score labels) and its vLLM side.

An engine lives as long as its actor: policies are swapped by reloading weights, never by restarting.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import PolicyRef, Record
from actors.engine.config import EngineConfig, engine_arguments
from actors.engine.halving import in_batches_that_fit
from actors.engine.model_folder import check_model_folder
from actors.errors import SalusError


class Sampling(BaseModel):
    """How answers are drawn. `temperature` 0 is greedy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(4, ge=1, description="answers per prompt")
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(64, ge=1, description="longest answer, in tokens")


class Completion(BaseModel):
    """One sampled answer."""

    model_config = ConfigDict(frozen=True)

    text: str
    tokens: int
    finish_reason: str


class Continuation(Record):
    """How likely a given text is after a prompt."""

    # Nats, summed over the continuation's tokens; what stands before it is given.
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
        """`sampling.k` answers for each tokenised prompt; `seeds[i]` fixes all draws of prompt i."""

    def score_next(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        """Log-probability of each of `token_ids` as the next token; shape (prompts, token_ids)."""

    def log_likelihoods(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> list[Continuation]:
        """How likely each continuation is after its prompt, both in tokens; nothing is sampled.

        Raises `SalusError` where one of the two is empty, or both together do not fit (see `check_continuations`).
        """


class VllmEngine:
    """vLLM behind the port, in this process on CPU."""

    def __init__(self, config: EngineConfig, policy: PolicyRef) -> None:
        check_model_folder(Path(policy.path))
        os.environ.update(config.environment())
        import vllm

        self._vllm = vllm
        arguments = engine_arguments(config, Path(policy.path))
        self._llm = vllm.LLM(model=policy.path, **arguments, disable_log_stats=True)
        self.tokenizer = self._llm.get_tokenizer()
        self.max_model_len: int = arguments["max_model_len"]
        self._loaded = policy

    def load(self, policy: PolicyRef) -> None:
        if policy == self._loaded:
            return
        check_model_folder(Path(policy.path))
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": policy.path})
        self._llm.reset_prefix_cache()
        self._loaded = policy

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        params = [
            self._vllm.SamplingParams(
                n=sampling.k,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                seed=seed if sampling.temperature > 0 else None,
            )
            for seed in seeds
        ]
        outputs = self._run(prompts, params)
        return [
            [
                Completion(text=o.text, tokens=len(o.token_ids), finish_reason=o.finish_reason or "unknown")
                for o in sorted(output.outputs, key=lambda o: o.index)
            ]
            for output in outputs
        ]

    def score_next(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        params = self._vllm.SamplingParams(
            max_tokens=1, temperature=0.0, detokenize=False, logprob_token_ids=list(token_ids)
        )
        outputs = self._run(prompts, [params] * len(prompts))
        first: list[Any] = [(output.outputs[0].logprobs or [])[0] for output in outputs]
        return np.array([[step[t].logprob for t in token_ids] for step in first], dtype=np.float64).reshape(
            len(prompts), len(token_ids)
        )

    def log_likelihoods(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> list[Continuation]:
        check_continuations(prompts, continuations, self.max_model_len)
        # 0: each prompt token's own log-probability and rank, and no others. vLLM then reads nothing from the
        # prefix cache, whose tokens have none.
        params = self._vllm.SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        whole = [[*prompt, *continuation] for prompt, continuation in zip(prompts, continuations, strict=True)]
        outputs = self._run(whole, [params] * len(whole))
        return [
            _continuation(output.prompt_logprobs or [], c) for output, c in zip(outputs, continuations, strict=True)
        ]

    def _run(self, prompts: Sequence[Sequence[int]], params: Sequence[Any]) -> list[Any]:
        """vLLM's outputs in the order of the prompts; in parts where memory runs out."""
        asked = [
            (self._vllm.TokensPrompt(prompt_token_ids=list(prompt)), how)
            for prompt, how in zip(prompts, params, strict=True)
        ]
        return in_batches_that_fit(
            lambda part: self._llm.generate([p for p, _ in part], [how for _, how in part], use_tqdm=False),
            asked,
            self._abort,
            "prompts",
        )

    def _abort(self) -> None:
        """Drop the requests that a failed run left in the engine."""
        engine: Any = self._llm.llm_engine
        engine.abort_request(list(engine.output_processor.request_states), internal=True)


def _continuation(prompt_logprobs: Sequence[Any], continuation: Sequence[int]) -> Continuation:
    """The last positions of vLLM's prompt log-probabilities (one mapping by token a position, the first None)."""
    steps = [step[token] for step, token in zip(prompt_logprobs[-len(continuation) :], continuation, strict=True)]
    return Continuation(
        log_likelihood=float(sum(step.logprob for step in steps)),
        tokens=len(steps),
        greedy=all(step.rank == 1 for step in steps),
    )


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


def chat_text(tokenizer: Any, message: str) -> str:
    """One user message under the model's own chat template, up to where the assistant's answer begins."""
    return conversation_text(tokenizer, [{"role": "user", "content": message}])


def conversation_text(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    """Turns (`role`, `content`) under the model's own chat template, up to where the assistant's answer begins."""
    rendered: str = tokenizer.apply_chat_template(list(turns), add_generation_prompt=True, tokenize=False)
    return rendered


def chat_tokens(tokenizer: Any, message: str) -> list[int]:
    """One user message under the model's own chat template, ready for the assistant's first token."""
    return conversation_tokens(tokenizer, [{"role": "user", "content": message}])


def conversation_tokens(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> list[int]:
    """Turns (`role`, `content`) under the model's own chat template, ready for the assistant's first token."""
    return list(tokenizer.encode(conversation_text(tokenizer, turns), add_special_tokens=False))
