"""vLLM behind the inference port: on CPU in the actor's own process, on GPUs with a core in another one."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.contract.records import PolicyRef
from actors.engine.chat import conversation_tokens
from actors.engine.config import EngineConfig, engine_arguments
from actors.engine.faults.death import CoreWatch, core_died
from actors.engine.faults.device import check_device
from actors.engine.faults.halving import in_batches_that_fit
from actors.engine.faults.restart import again_where_rebuilt
from actors.engine.model_files import engine_folder, model_fault
from actors.engine.model_folder import check_model_folder
from actors.engine.port import Completion, Continuation, RestingEngine, Sampling, check_continuations
from actors.engine.rendering import check_same_ids, rendered_conversations
from actors.engine.sampling_defaults import LEFT_TO_MODEL, sampling_defaults
from actors.engine.tokenizer import load_tokenizer

# vLLM's argument for engines that can sleep.
SLEEPS = "enable_sleep_mode"
# The engines of this process.
_HERE: weakref.WeakSet[RestingEngine] = weakref.WeakSet()


class VllmEngine:
    """vLLM behind the port. Its process ends with its core (`actors.engine.faults.death`).

    Raises:
        SalusError: the model cannot be loaded, or the device is not the one that was asked for. In an actor that Ray
            has built anew, several tries have failed.
    """

    def __init__(self, config: EngineConfig, policy: PolicyRef) -> None:
        os.environ.update(config.environment())
        import vllm

        self._vllm = vllm
        folder = Path(policy.path)
        check_device(config.device, config.tensor_parallel, "An engine")
        self._llm: Any = again_where_rebuilt(lambda: self._started(config, folder))
        self._watch = CoreWatch(self, core_died(self._llm))
        self.tokenizer = load_tokenizer(folder)
        vllm_tokenizer = self._llm.get_tokenizer()
        for turns, expected in rendered_conversations(self.tokenizer):
            check_same_ids(self.tokenizer, expected, conversation_tokens(vllm_tokenizer, turns), "vLLM")
        self.max_model_len: int = config.length(folder)
        self._loaded = policy
        self._asleep = False
        self.can_sleep = config.device == "cuda" and bool(config.extra.get(SLEEPS))
        _HERE.add(self)

    def _started(self, config: EngineConfig, folder: Path) -> Any:
        check_model_folder(folder)
        arguments = engine_arguments(config, folder)
        with model_fault(folder, "vLLM cannot start an engine"):
            return self._vllm.LLM(model=str(engine_folder(folder)), **arguments, disable_log_stats=True)

    def load(self, policy: PolicyRef) -> None:
        if policy == self._loaded:
            return
        check_model_folder(Path(policy.path))
        with self._watch.watched():
            self._read(policy)
        self._loaded = policy

    def sleep(self) -> None:
        # Level 2: the weights are not kept in host memory either, as others are wanted next.
        with self._watch.watched():
            self._llm.sleep(level=2)
        self._asleep = True

    def close(self) -> None:
        # The core of an engine on GPUs is a process of its own, which outlives this one by a moment. vLLM marks a core
        # that it closes as dead.
        self._watch.stop()
        self._llm.llm_engine.engine_core.shutdown()

    def _read(self, policy: PolicyRef) -> None:
        """Have a policy's weights; one that sleeps makes room for them first, and for its cache last."""
        asleep, self._asleep = self._asleep, False
        if asleep:
            self._llm.wake_up(tags=["weights"])
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(engine_folder(Path(policy.path)))})
        if asleep:
            self._llm.wake_up(tags=["kv_cache"])
        self._llm.reset_prefix_cache()

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        sampling = sampling_defaults(Path(self._loaded.path)).settled(sampling)
        shaped = {name: value for name in LEFT_TO_MODEL if (value := getattr(sampling, name)) is not None}
        params = [
            self._vllm.SamplingParams(
                n=sampling.k,
                temperature=sampling.temperature,
                max_tokens=sampling.max_tokens,
                seed=seed if sampling.temperature > 0 else None,
                stop=list(sampling.stop),
                **shaped,
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
        if self._asleep:
            self._read(self._loaded)
        asked = [
            (self._vllm.TokensPrompt(prompt_token_ids=list(prompt)), how)
            for prompt, how in zip(prompts, params, strict=True)
        ]
        with self._watch.watched():
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


def rest_engines() -> bool:
    """Have every engine of this process sleep; False, and nothing is done, where there is one that cannot."""
    engines = list(_HERE)
    if not all(engine.can_sleep for engine in engines):
        return False
    for engine in engines:
        engine.sleep()
    return True


def close_engines() -> None:
    """Close every engine of this process."""
    for engine in list(_HERE):
        engine.close()


def _continuation(prompt_logprobs: Sequence[Any], continuation: Sequence[int]) -> Continuation:
    """The last positions of vLLM's prompt log-probabilities (one mapping by token a position, the first None)."""
    steps = [step[token] for step, token in zip(prompt_logprobs[-len(continuation) :], continuation, strict=True)]
    return Continuation(
        log_likelihood=float(sum(step.logprob for step in steps)),
        tokens=len(steps),
        greedy=all(step.rank == 1 for step in steps),
    )
