"""Greedy answers of vLLM in a process of its own, which is gone afterwards."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.config import EngineConfig, engine_arguments
from actors.engine.port import Sampling
from actors.engine.vllm import VllmEngine

# Text and number of tokens.
Answer = tuple[str, int]


def alone(answers: Callable[..., list[Answer]], *arguments: Any) -> list[Answer]:
    """What `answers(*arguments)` gives in a process that ends with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(answers, *arguments).result()


def by_engine(model: Path, config: EngineConfig, prompts: Sequence[str], max_tokens: int) -> list[Answer]:
    """Of a model folder, by the run's own engine."""
    engine = VllmEngine(config, PolicyRef(version="exported", path=str(model)))
    tokens = [chat_tokens(engine.tokenizer, prompt) for prompt in prompts]
    greedy = Sampling(k=1, temperature=0.0, max_tokens=max_tokens)
    return [(each.text.strip(), each.tokens) for (each,) in engine.generate(tokens, greedy, [0] * len(tokens))]


def by_adapter(
    base: Path, adapter: Path, config: EngineConfig, prompts: Sequence[str], max_tokens: int
) -> list[Answer]:
    """Of an adapter on the model it was trained on, as plain vLLM serves one."""
    os.environ.update(config.environment())
    import vllm
    from vllm.lora.request import LoRARequest

    llm = vllm.LLM(
        model=str(base),
        **engine_arguments(config, base),
        enable_lora=True,
        max_lora_rank=16,
        disable_log_stats=True,
    )
    tokenizer = llm.get_tokenizer()
    asked = [vllm.TokensPrompt(prompt_token_ids=chat_tokens(tokenizer, prompt)) for prompt in prompts]
    how = vllm.SamplingParams(temperature=0.0, max_tokens=max_tokens)
    outputs = llm.generate(asked, how, use_tqdm=False, lora_request=LoRARequest("exported", 1, str(adapter)))
    return [(output.outputs[0].text.strip(), len(output.outputs[0].token_ids)) for output in outputs]
