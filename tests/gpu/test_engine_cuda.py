"""The engine's contract on a GPU, with CUDA graphs: the tests of the CPU engine, and bfloat16 against transformers.

It has never been run: it waits for a machine with a GPU, vLLM's CUDA build and CUDA's toolkit.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("vllm")

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.config import EngineConfig
from actors.engine.vllm import VllmEngine
from tests.e2e.test_engine import (
    PROMPTS,
    policies,
    test_a_missing_policy_is_a_sentence_and_the_old_one_stays,
    test_a_sequence_that_is_too_long_is_a_sentence_and_the_engine_goes_on,
    test_a_swap_leaves_nothing_of_the_former_policy,
    test_draws_depend_on_the_prompts_seed_alone,
    test_greedy_tokens_and_next_token_scores_are_those_of_transformers,
    test_log_likelihoods_are_those_of_transformers,
    test_seeded_sampling_survives_more_prompts_than_one_batch_holds,
    test_what_greedy_decoding_writes_is_known_to_be_greedy,
)
from tests.transformers_engine import TransformersEngine

# pytest finds them here, and gives them this module's engine.
__all__ = [
    "policies",
    "test_a_missing_policy_is_a_sentence_and_the_old_one_stays",
    "test_a_sequence_that_is_too_long_is_a_sentence_and_the_engine_goes_on",
    "test_a_swap_leaves_nothing_of_the_former_policy",
    "test_draws_depend_on_the_prompts_seed_alone",
    "test_greedy_tokens_and_next_token_scores_are_those_of_transformers",
    "test_log_likelihoods_are_those_of_transformers",
    "test_seeded_sampling_survives_more_prompts_than_one_batch_holds",
    "test_what_greedy_decoding_writes_is_known_to_be_greedy",
]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]


def on_cuda(dtype: str) -> EngineConfig:
    """A small share of the GPU, so that two engines fit beside each other."""
    return EngineConfig.model_validate(
        {
            "device": "cuda",
            "dtype": dtype,
            "max_model_len": 256,
            "gpu_memory_utilization": 0.2,
            "enforce_eager": False,
        }
    )


@pytest.fixture(scope="module")
def vllm(policies: tuple[PolicyRef, PolicyRef]) -> VllmEngine:
    """In float32, as transformers computes in these tests."""
    return VllmEngine(on_cuda("float32"), policies[0])


def test_next_token_scores_in_bfloat16_are_near_those_of_transformers(policies: tuple[PolicyRef, PolicyRef]) -> None:
    engine, reference = VllmEngine(on_cuda("bfloat16"), policies[0]), TransformersEngine(policies[0])
    tokens = [chat_tokens(reference.tokenizer, prompt) for prompt in PROMPTS]
    ids = [5, 9, 40]
    # Three decimal digits of scores near -6.
    assert np.allclose(engine.score_next(tokens, ids), reference.score_next(tokens, ids), atol=0.05)
