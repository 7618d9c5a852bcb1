"""vLLM behind the engine port, held against transformers on the same weights: one contract, two engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.config import EngineConfig
from actors.engine.model_folder import longest_sequence
from actors.engine.port import Engine, Sampling
from actors.engine.vllm import VllmEngine
from actors.errors import SalusError
from tests.actors.engine.test_model_folder import LENGTHS, write_config
from tests.tiny_model import make_tiny_model
from tests.transformers_engine import TransformersEngine

pytestmark = pytest.mark.e2e
PROMPTS = [f"How much insulin for {who}?" for who in ("an adult", "a child", "my aunt", "a neighbour of mine")]
GREEDY = Sampling(k=1, temperature=0.0, max_tokens=12)
DRAWN = Sampling(k=3, temperature=1.0, max_tokens=12)


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[PolicyRef, PolicyRef]:
    root = tmp_path_factory.mktemp("policies")
    return (
        PolicyRef(version="a", path=str(make_tiny_model(root / "a", seed=0))),
        PolicyRef(version="b", path=str(make_tiny_model(root / "b", seed=1))),
    )


@pytest.fixture(scope="module")
def vllm(policies: tuple[PolicyRef, PolicyRef]) -> VllmEngine:
    return VllmEngine(EngineConfig(max_model_len=256, kv_cache_gib=0.0625), policies[0])


def texts(engine: Engine, sampling: Sampling, prompts: list[str], seeds: list[int]) -> list[list[str]]:
    tokens = [chat_tokens(engine.tokenizer, prompt) for prompt in prompts]
    # Of a character cut off by the length limit vLLM shows nothing, transformers a replacement character.
    return [[c.text.rstrip("\ufffd") for c in group] for group in engine.generate(tokens, sampling, seeds)]


def test_greedy_tokens_and_next_token_scores_are_those_of_transformers(
    vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    vllm.load(policies[0])
    reference = TransformersEngine(policies[0])
    seeds = [0] * len(PROMPTS)
    assert texts(vllm, GREEDY, PROMPTS, seeds) == texts(reference, GREEDY, PROMPTS, seeds)
    tokens = [chat_tokens(reference.tokenizer, prompt) for prompt in PROMPTS]
    ids = [5, 9, 40]
    assert np.allclose(vllm.score_next(tokens, ids), reference.score_next(tokens, ids), atol=1e-3)


def test_log_likelihoods_are_those_of_transformers(vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef]) -> None:
    answers = ["Ten units.", "Ask your doctor about it first.", "I can't help with that."]
    for policy in policies:
        vllm.load(policy)
        reference = TransformersEngine(policy)
        prompts = [chat_tokens(reference.tokenizer, prompt) for prompt in PROMPTS for _ in answers]
        given = [list(reference.tokenizer.encode(answer)) for _ in PROMPTS for answer in answers]
        # The second time round the prompts are in the prefix cache, whose tokens have no log-probabilities.
        for _ in range(2):
            found = vllm.log_likelihoods(prompts, given)
            expected = reference.log_likelihoods(prompts, given)
            assert [f.tokens for f in found] == [e.tokens for e in expected]
            assert [f.greedy for f in found] == [e.greedy for e in expected]
            assert np.allclose([f.log_likelihood for f in found], [e.log_likelihood for e in expected], atol=1e-2)


def test_what_greedy_decoding_writes_is_known_to_be_greedy(
    vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    vllm.load(policies[0])
    prompt = chat_tokens(vllm.tokenizer, PROMPTS[0])
    best = int(TransformersEngine(policies[0]).score_next([prompt], range(len(vllm.tokenizer)))[0].argmax())
    other = (best + 1) % len(vllm.tokenizer)
    assert [c.greedy for c in vllm.log_likelihoods([prompt, prompt], [[best], [other]])] == [True, False]


def test_a_sequence_that_is_too_long_is_a_sentence_and_the_engine_goes_on(
    vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    vllm.load(policies[0])
    longest = vllm.max_model_len - 1
    with pytest.raises(SalusError, match=r"Sequence 1 \(from 0\) has 256 tokens, but only 255 fit"):
        vllm.log_likelihoods([[5], [5]], [[6], [6] * longest])
    assert vllm.log_likelihoods([[5]], [[6] * (longest - 1)])[0].tokens == longest - 1


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_draws_depend_on_the_prompts_seed_alone(
    vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef], engine: str
) -> None:
    of: Engine = vllm if engine == "vllm" else TransformersEngine(policies[0])
    of.load(policies[0])
    seeds = [11, 12, 13, 14]
    together = texts(of, DRAWN, PROMPTS, seeds)
    assert texts(of, DRAWN, PROMPTS, seeds) == together
    assert texts(of, DRAWN, PROMPTS[1:3], seeds[1:3]) == together[1:3]
    assert texts(of, DRAWN, PROMPTS, [21, 22, 23, 24]) != together
    assert len(set(together[0])) > 1


def test_seeded_sampling_survives_more_prompts_than_one_batch_holds(
    vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    """With chunked prefill this dies on CPU (`CPU Generator does not use offset`)."""
    vllm.load(policies[0])
    prompts = [f"request {i} " + "and so on " * 30 for i in range(120)]
    answers = texts(vllm, Sampling(k=2, temperature=1.0, max_tokens=4), prompts, list(range(120)))
    assert len(answers) == 120


def test_a_swap_leaves_nothing_of_the_former_policy(vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef]) -> None:
    seeds = [0] * len(PROMPTS)
    vllm.load(policies[0])
    first = texts(vllm, GREEDY, PROMPTS, seeds)
    vllm.load(policies[1])
    assert texts(vllm, GREEDY, PROMPTS, seeds) == texts(TransformersEngine(policies[1]), GREEDY, PROMPTS, seeds)
    vllm.load(policies[0])
    assert texts(vllm, GREEDY, PROMPTS, seeds) == first


def test_a_missing_policy_is_a_sentence_and_the_old_one_stays(
    vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef], tmp_path: Path
) -> None:
    vllm.load(policies[0])
    before = texts(vllm, GREEDY, PROMPTS, [0] * 4)
    with pytest.raises(SalusError, match="does not exist; give the path of a Hugging Face model folder"):
        vllm.load(PolicyRef(version="c", path=str(tmp_path / "nowhere")))
    assert texts(vllm, GREEDY, PROMPTS, [0] * 4) == before


def test_a_batch_that_does_not_fit_into_memory_is_done_in_parts(
    vllm: VllmEngine, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    vllm.load(policies[0])
    whole = texts(vllm, GREEDY, PROMPTS, [0] * len(PROMPTS))
    refuses = 2

    def full(model: torch.nn.Module, args: Any) -> None:
        """Raises what torch raises, from within the engine: over all prompts, and over the first half of them."""
        nonlocal refuses
        if refuses:
            refuses -= 1
            raise torch.OutOfMemoryError("out of memory")

    hooks = vllm._llm.apply_model(lambda model: model.register_forward_pre_hook(full))
    try:
        assert texts(vllm, GREEDY, PROMPTS, [0] * len(PROMPTS)) == whole
        assert refuses == 0
        refuses = 100
        with pytest.raises(SalusError, match="over one of the prompts alone"):
            texts(vllm, GREEDY, PROMPTS, [0] * len(PROMPTS))
    finally:
        for hook in hooks:
            hook.remove()
    # Nothing of the failed runs is left in the engine.
    assert texts(vllm, GREEDY, PROMPTS, [0] * len(PROMPTS)) == whole


@pytest.mark.parametrize("name", LENGTHS)
def test_a_model_is_as_long_as_vllm_says(vllm: VllmEngine, name: str, tmp_path: Path) -> None:
    from vllm.config import ModelConfig

    folder = make_tiny_model(tmp_path / "model")
    write_config(folder, LENGTHS[name][0])
    assert longest_sequence(folder) == ModelConfig(model=str(folder)).max_model_len == LENGTHS[name][1]
