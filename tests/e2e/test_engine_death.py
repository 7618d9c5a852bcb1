"""SIGKILL of an engine's core and of its worker, in the layout of processes that engines have on GPUs.

The actor ends at once, Ray builds it anew, and what it gives is what it gives when nothing happens.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from pydantic import Field
from ray.exceptions import RayActorError

from actors.contract.records import ROLLOUT_SCHEMA, PolicyRef
from actors.engine.config import EngineConfig
from actors.engine.port import Sampling
from actors.files.shards import write_table
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from actors.remote import RemoteGenerator, RemoteJudge
from actors.serve.guard.actor import GuardActor
from actors.serve.guard.config import GuardConfig, GuardEngineConfig
from actors.serve.guard.model import JudgedExchange
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from pipelines.config.judge import JudgeConfig
from tests.e2e.faults import wait_until
from tests.rows import judgments, prompt, prompts
from tests.tiny_model import make_tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
CORE, WORKER = "VLLM::EngineCore", "VLLM::Worker"
# The seconds that each worker works in these tests, at least.
WORK_S = 0.5
SMALL = {"max_model_len": 256, "threads": 1, "kv_cache_gib": 0.25}


class CoreApart(EngineConfig):
    """An engine on the CPU in CUDA's layout: actor, core and worker are three processes."""

    # While there is such a file, the next start fails, as for want of memory.
    fails_once: Path | None = Field(default=None, description="the file")

    def environment(self) -> dict[str, str]:
        return super().environment() | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}

    def length(self, model: Path, section: str = "engine") -> int:
        if self.fails_once is not None and self.fails_once.exists():
            self.fails_once.unlink()
            raise RuntimeError("CUDA error: out of memory")
        return super().length(model, section)


class GuardCoreApart(CoreApart, GuardEngineConfig):
    """The same of a guard."""


@pytest.fixture(scope="module")
def ray_of_its_own() -> Iterator[None]:
    with embedded_ray(ClusterConfig(logical_cpus=4), "engine-death", 4):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyRef:
    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "a")
    return PolicyRef(version="a", path=str(folder))


def started(remote: Any, engine: EngineConfig, *arguments: Any) -> Any:
    return remote.options(num_cpus=1, runtime_env={"env_vars": engine.environment()}).remote(*arguments)


def of_actor(title: str, part: str) -> psutil.Process:
    """The process of this kind below the only actor that is called so."""
    (actor,) = [p for p in psutil.Process().children(recursive=True) if title in " ".join(p.cmdline())]
    (found,) = [p for p in actor.children(recursive=True) if part in " ".join(p.cmdline())]
    return found


def kill_at_work(process: psutil.Process) -> None:
    """Kill a process that computes."""
    before = sum(process.cpu_times()[:2])
    wait_until(lambda: sum(process.cpu_times()[:2]) - before > WORK_S, 60)
    process.kill()


def checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ended_and_done(waiting: Any, process: psutil.Process, output: Path) -> None:
    """Kill a process of an engine at work, and wait until another engine has done the work."""
    kill_at_work(process)
    assert not output.exists()
    killed_s = time.monotonic()
    ray.get(waiting, timeout=400)
    print(f"\nback and done after {time.monotonic() - killed_s:.0f} s")


def test_a_generator_whose_core_is_killed_comes_back_and_gives_the_same(
    ray_of_its_own: None, model: PolicyRef, tmp_path: Path
) -> None:
    starved = tmp_path / "starved"
    engine = CoreApart.model_validate({**SMALL, "fails_once": starved})
    generator = started(RemoteGenerator, engine, engine, model)
    write_table(prompts(600), tmp_path / "prompts.parquet")

    def rollouts(output: Path) -> Any:
        task = RolloutTask(
            policy=model,
            prompts=str(tmp_path / "prompts.parquet"),
            output=str(output),
            sampling=Sampling(k=4, temperature=1.0, max_tokens=32),
            seed=1,
        )
        return generator.generate.options(num_returns=2).remote(task)[1]

    calm, killed = tmp_path / "calm.parquet", tmp_path / "killed.parquet"
    ray.get(rollouts(calm))
    starved.touch()
    ended_and_done(rollouts(killed), of_actor("VllmGenerator", CORE), killed)
    assert not starved.exists()
    assert checksum(killed) == checksum(calm)
    ray.kill(generator)


def test_a_judge_whose_worker_is_killed_comes_back_and_gives_the_same(
    ray_of_its_own: None, model: PolicyRef, tmp_path: Path
) -> None:
    engine = CoreApart.model_validate(SMALL)
    settings = JudgeConfig(regimen="SELF", prompt="clinic-v1", min_coverage=0.0)
    judge = started(RemoteJudge, engine, settings.model_copy(update={"engine": engine}), model)
    rollouts = judgments([(prompt(number), "Sure, here.", None) for number in range(4000)])
    write_table(rollouts.select(ROLLOUT_SCHEMA.names).cast(ROLLOUT_SCHEMA), tmp_path / "rollouts.parquet")

    def labels(output: Path) -> Any:
        task = JudgmentTask(rollouts=str(tmp_path / "rollouts.parquet"), output=str(output))
        return judge.label.options(num_returns=2).remote(None, task)[1]

    calm, killed = tmp_path / "calm.parquet", tmp_path / "killed.parquet"
    ray.get(labels(calm))
    ended_and_done(labels(killed), of_actor("RecipeJudge", WORKER), killed)
    assert checksum(killed) == checksum(calm)
    ray.kill(judge)


def test_a_guard_comes_back_and_says_the_same(ray_of_its_own: None, model: PolicyRef) -> None:
    engine = GuardCoreApart.model_validate(SMALL)
    config = GuardConfig(kind="guard", action="replace", model=Path(model.path), prompt="clinic-v1", min_coverage=0.0)
    config = config.model_copy(update={"engine": engine, "max_batch": 4000, "timeout_s": 60.0})
    guard = started(GuardActor, engine, config, model)
    asked = [JudgedExchange(request=f"request {number}", answer="Sure, here.") for number in range(4000)]
    ray.get(guard.ready.remote())
    calm = ray.get(guard.judge.remote(asked))
    process = of_actor("VllmGuard", CORE)
    waiting = guard.judge.remote(asked)
    kill_at_work(process)
    killed_s = time.monotonic()
    with pytest.raises(RayActorError):
        ray.get(waiting, timeout=60)
    assert time.monotonic() - killed_s < 10
    ray.get(guard.ready.options(max_task_retries=-1).remote(), timeout=300)
    assert ray.get(guard.judge.remote(asked)) == calm
    ray.kill(guard)
