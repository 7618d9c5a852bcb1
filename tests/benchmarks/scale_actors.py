"""Real generators and judges with stand-ins for their models, for `tests.benchmarks.scale`: an engine that sleeps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.contract.records import PolicyRef
from actors.engine.port import Completion, Sampling
from actors.generator import Generator, RolloutTask
from actors.judges.judge import Judge, JudgmentTask, Scores
from pipelines.cluster.pools import Pools
from pipelines.cluster.stream import ShardTask

# Of a core; what they do is sleep, read and write.
CPUS = 0.01
VARIES = 0.25
_ANSWER = "Take it with water, and ask your doctor where you are not sure. " * 4


class WordTokenizer:
    """As far as a generator asks for one: a token a word."""

    def apply_chat_template(self, messages: Sequence[dict[str, str]], **_: Any) -> str:
        return "\n".join(message["content"] for message in messages)

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(range(len(text.split())))


class SleepingEngine:
    """An engine that takes a time for each prompt, and needs no core for it (`actors.engine.port.Engine`).

    The time of a batch varies by up to `VARIES`, by its seeds: real engines do not all end at the same instant.
    """

    tokenizer = WordTokenizer()
    max_model_len = 1024

    def __init__(self, seconds_per_prompt: float) -> None:
        self._seconds_per_prompt = seconds_per_prompt

    def load(self, policy: PolicyRef) -> None:
        pass

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        varied = np.random.default_rng(seeds[0]).uniform(1 - VARIES, 1 + VARIES)
        time.sleep(self._seconds_per_prompt * len(prompts) * varied)
        answer = Completion(text=_ANSWER, tokens=50, finish_reason="stop")
        return [[answer] * sampling.k for _ in prompts]


class EvenScorer:
    """Gives every answer the same probabilities."""

    name = "scale"
    prompt_version = "none"

    def load(self, policy: PolicyRef) -> None:
        pass

    def score(self, requests: list[str], answers: list[str]) -> Scores:
        return np.tile([0.2, 0.3, 0.5], (len(requests), 1)), np.ones(len(requests))


@ray.remote(num_cpus=CPUS)
class SleepingGenerator(Generator):
    """A generator whose engine sleeps."""

    def __init__(self, seconds_per_prompt: float) -> None:
        super().__init__(SleepingEngine(seconds_per_prompt))  # type: ignore[arg-type]


@ray.remote(num_cpus=CPUS)
class EvenJudge(Judge):
    """A judge that needs no model."""

    def __init__(self) -> None:
        super().__init__(EvenScorer(), 0.0)


def stand_ins(generators: int, judges: int, seconds_per_prompt: float) -> Pools:
    """Both pools, up."""
    generator: Any = SleepingGenerator
    judge: Any = EvenJudge
    pools = Pools(
        generators=[generator.remote(seconds_per_prompt) for _ in range(generators)],
        judges=[judge.remote() for _ in range(judges)],
    )
    pools.wait(600)
    return pools


def shard_tasks(prompts: Sequence[Path], folder: Path, samples: int) -> list[ShardTask]:
    """The way of some shards of prompts through both pools; `folder` is the policy's as well, and has no weights."""
    policy, sampling = PolicyRef(version="c0-base", path=str(folder)), Sampling(k=samples, max_tokens=64)
    tasks = []
    for shard in prompts:
        rollouts = str(folder / "rollouts" / shard.name)
        rollout = RolloutTask(policy=policy, prompts=str(shard), output=rollouts, sampling=sampling, seed=0)
        judgment = JudgmentTask(rollouts=rollouts, output=str(folder / "judgments" / shard.name))
        tasks.append(ShardTask(rollout=rollout, judgment=judgment))
    return tasks
