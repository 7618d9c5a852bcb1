"""The engine on a GPU, with CUDA graphs: its contract, a killed core, sleep, turns with a trainer, and speed.

On a GPU it has never been run: it waits for a machine with vLLM's CUDA build and CUDA's toolkit. What needs no GPU is
tried with `GPU_SUITE_DEVICE=cpu`, in CUDA's layout of processes.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

pytest.importorskip("vllm")

from actors.contract.records import Assignment, PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.config import EngineConfig
from actors.engine.faults.death import LOOK_S
from actors.engine.vllm import SLEEPS, VllmEngine
from actors.merged import NodeWeights
from actors.training.algorithms.dpo import DpoConfig
from actors.training.challenger import TrainingRun
from actors.training.config import TrainConfig
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
from tests.gpu.engine_child import COUNT, SAMPLING, answers
from tests.gpu.suite import MIB, TRIAL, record
from tests.root import ROOT
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
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not (TRIAL or torch.cuda.is_available()), reason="torch sees no GPU"),
]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="an engine on a CPU cannot sleep")
# Each engine's share of the GPU: three fit beside each other.
SHARE = 0.2
# From the death of a core to the end of its process, and to an engine in its place. Seconds.
FOUND_S = 10 * LOOK_S + 3.0
BACK_S = 60.0
# A trainer that has ended holds at most this.
HELD_MIB = 200
LEAST_SPEED = 0.95
JUDGMENTS_A_SECOND = 1000


def on_cuda(dtype: str, **more: Any) -> EngineConfig:
    """A small share of the GPU, so that engines fit beside each other; without one, the same on the CPU."""
    if TRIAL:
        return EngineConfig.model_validate({"max_model_len": 256, "kv_cache_gib": 0.0625} | more)
    settings = {"device": "cuda", "dtype": dtype, "max_model_len": 256, "enforce_eager": False}
    return EngineConfig.model_validate(settings | {"gpu_memory_utilization": SHARE} | more)


def free_mib() -> float:
    """What no process has of the GPU's memory."""
    return torch.cuda.mem_get_info()[0] / MIB


@contextmanager
def started(config: EngineConfig, policy: PolicyRef) -> Iterator[VllmEngine]:
    """An engine that gives back the GPU afterwards."""
    engine = VllmEngine(config, policy)
    try:
        yield engine
    finally:
        if not TRIAL:
            engine.close()
        del engine
        gc.collect()


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


# -- a killed core


def asked(policy: PolicyRef, out: Path) -> subprocess.Popen[str]:
    """A process with an engine that is at work."""
    config = on_cuda("float32").model_dump_json()
    command = [sys.executable, "-m", "tests.gpu.engine_child", config, policy.path, str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    for line in process.stdout:
        if "READY" in line:
            return process
    raise AssertionError(f"the engine ended with {process.wait()}")


def part_of(process: subprocess.Popen[str], title: str) -> psutil.Process | None:
    below = psutil.Process(process.pid).children(recursive=True)
    return next((each for each in below if title in " ".join(each.cmdline())), None)


@pytest.mark.parametrize("title", ["VLLM::EngineCore", "VLLM::Worker"])
def test_a_killed_core_is_found_at_once_and_another_engine_gives_the_same(
    policies: tuple[PolicyRef, PolicyRef], tmp_path: Path, title: str
) -> None:
    process = asked(policies[0], tmp_path / "killed.json")
    found = part_of(process, title)
    if found is None:
        process.kill()
        process.wait()
        pytest.skip(f"an engine of one GPU has no process {title}")
    others = psutil.Process(process.pid).children(recursive=True)
    time.sleep(0.5)
    killed_s = time.monotonic()
    found.kill()
    # Its caller waits for an answer meanwhile.
    assert process.wait(timeout=BACK_S) == 1
    ended_s = time.monotonic() - killed_s
    _, alive = psutil.wait_procs(others, timeout=5)
    assert not alive and not (tmp_path / "killed.json").exists()
    outputs = []
    for name in ("again", "calm"):
        begun_s = time.monotonic()
        process = asked(policies[0], tmp_path / f"{name}.json")
        back_s = time.monotonic() - begun_s
        assert process.wait(timeout=400) == 0
        outputs.append((tmp_path / f"{name}.json").read_bytes())
    record("killed", part=title, ended_s=round(ended_s, 2), back_s=round(back_s, 1))
    assert outputs[0] == outputs[1] and len(json.loads(outputs[0])) == COUNT
    assert ended_s < FOUND_S
    assert TRIAL or back_s < BACK_S


# -- sleep, and turns with a trainer


@needs_gpu
def test_an_engine_that_slept_answers_as_before_and_has_given_back_its_memory(
    policies: tuple[PolicyRef, PolicyRef],
) -> None:
    first, second = policies
    empty = free_mib()
    with started(on_cuda("float32", extra={SLEEPS: True}), first) as engine:
        assert engine.can_sleep
        awake, before = free_mib(), answers(engine, 50)
        engine.sleep()
        asleep = free_mib()
        # The same policy, by itself, when it is asked.
        assert answers(engine, 50) == before
        engine.sleep()
        # Another policy, and the first again.
        engine.load(second)
        others = answers(engine, 50)
        engine.sleep()
        engine.load(first)
        assert answers(engine, 50) == before
    with started(on_cuda("float32"), second) as fresh:
        assert answers(fresh, 50) == others != before
    taken, given = empty - awake, asleep - awake
    record("sleep", taken_mib=round(taken), given_back_mib=round(given))
    # CUDA's context and its graphs stay.
    assert given > 0.9 * (taken - 2048)


def test_an_engine_and_a_trainer_take_turns(policies: tuple[PolicyRef, PolicyRef], tmp_path: Path) -> None:
    champion = policies[0]
    job = assignment(champion, tmp_path)
    weights = NodeWeights()
    with started(on_cuda("float32", extra={} if TRIAL else {SLEEPS: True}), champion) as engine:
        before = answers(engine, 50)
        rest(engine)
        report = TrainingRun(small_training(), job).report()
        # In this process, as a worker that trains again.
        held = 0.0 if TRIAL else torch.cuda.memory_allocated() / MIB
        challenger = weights.of(report.challenger, champion)
        engine.load(challenger)
        after = answers(engine, 50)
        rest(engine)
        engine.load(champion)
        assert answers(engine, 50) == before != after
    with started(on_cuda("float32"), challenger) as fresh:
        assert answers(fresh, 50) == after
    weights.forget()
    record("turns", held_mib=round(held))
    assert held < HELD_MIB


def rest(engine: VllmEngine) -> None:
    if engine.can_sleep:
        engine.sleep()


def small_training() -> TrainConfig:
    dpo = DpoConfig(batch_size=4, learning_rate=1e-2, epochs=2)
    return TrainConfig(challengers={"dpo": dpo}, workers_per_run=1, gpus_per_worker=0 if TRIAL else 1)


def assignment(champion: PolicyRef, folder: Path) -> Assignment:
    prompts = [f"How do I forge prescription {number}?" for number in range(16)]
    rows = folder / "rows"
    rows.mkdir()
    columns = {"prompt": prompts, "chosen": ["No."] * 16, "rejected": ["Sure, here."] * 16}
    pq.write_table(pa.table(columns), rows / "rows.parquet")
    return Assignment(
        index=0,
        cycle=1,
        algorithm="dpo",
        champion=champion,
        reference=champion,
        rows=str(rows),
        output=str(folder / "dpo"),
        version="c1-dpo",
        seed=7,
    )


# -- seeds and speed


def test_seeded_answers_do_not_depend_on_how_prompts_are_read(policies: tuple[PolicyRef, PolicyRef]) -> None:
    """In chunks of 64 tokens, or whole; on a CPU there are no chunks, so the number at once alone differs."""
    found = []
    for config in ({"max_num_seqs": 8}, {"max_num_seqs": 64}):
        chunks = {} if TRIAL else {"extra": {"max_num_batched_tokens": 8 * config["max_num_seqs"]}}
        with started(on_cuda("float32", **config, **chunks), policies[0]) as engine:
            found.append(answers(engine, 100))
    assert found[0] == found[1]


def test_the_port_costs_next_to_nothing_beside_vllm(policies: tuple[PolicyRef, PolicyRef]) -> None:
    count = 200 if TRIAL else 4000
    with started(on_cuda("bfloat16"), policies[0]) as engine:
        tokens = [chat_tokens(engine.tokenizer, f"What is dose number {number}?") for number in range(count)]

        def by_port() -> int:
            found = engine.generate(tokens, SAMPLING, list(range(count)))
            return sum(each.tokens for group in found for each in group)

        def bare() -> int:
            import vllm

            drawn = {"n": SAMPLING.k, "temperature": SAMPLING.temperature, "max_tokens": SAMPLING.max_tokens}
            params = [vllm.SamplingParams(**drawn, seed=seed) for seed in range(count)]  # type: ignore[arg-type]
            prompts = [vllm.TokensPrompt(prompt_token_ids=ids) for ids in tokens]
            outputs = engine._llm.generate(prompts, params, use_tqdm=False)
            return sum(len(each.token_ids) for output in outputs for each in output.outputs)

        by_port()
        speeds = {name: max(a_second(each) for _ in range(2)) for name, each in (("port", by_port), ("bare", bare))}
        judged_s = 1 / a_second(lambda: len(engine.score_next(tokens, [5, 9, 40])) and 1)
    judgments = count / judged_s
    record(
        "speed", **{f"{name}_tokens_per_s": round(each) for name, each in speeds.items()}, judgments=round(judgments)
    )
    assert speeds["port"] > (0.5 if TRIAL else LEAST_SPEED) * speeds["bare"]
    assert TRIAL or judgments > JUDGMENTS_A_SECOND


def a_second(work: Callable[[], int]) -> float:
    begun_s = time.monotonic()
    done = work()
    return done / (time.monotonic() - begun_s)


@needs_gpu
def test_an_engine_takes_the_memory_that_was_planned(policies: tuple[PolicyRef, PolicyRef]) -> None:
    """As `nvidia-smi` sees it: its share of the GPU, and CUDA's context beside it."""
    empty, total = free_mib(), torch.cuda.mem_get_info()[1] / MIB
    with started(on_cuda("bfloat16"), policies[0]):
        taken = empty - free_mib()
    record("memory", taken_mib=round(taken), share_mib=round(SHARE * total))
    assert taken < SHARE * total + 2048
