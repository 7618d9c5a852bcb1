"""Who begins when: the endpoint of a run, and trainings that follow each other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.contract.records import Assignment, PolicyRef
from actors.training.config import TrainConfig
from pipelines.alignment.served import RunEndpoint
from pipelines.alignment.training import runs as training_runs
from pipelines.alignment.training.runs import TrainingRuns
from pipelines.cluster.turns.division import TRAINER_SHARE, divided
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe

POLICY = PolicyRef(version="c0-base", path="/p")
BY_TURNS = "cluster.placement=by_turns"


class Publishing:
    """A coordinator that notes when its endpoint is to start."""

    def __init__(self) -> None:
        self.started = 0
        self.start_publisher = self

    def remote(self) -> object:
        self.started += 1
        return object()


@pytest.mark.parametrize(
    ("recipe", "settings", "after_begin", "after_first_training"),
    [
        ("demo", [], 1, 1),
        ("demo", [BY_TURNS], 1, 1),
        ("llama-3.1-8b", [], 0, 1),
        ("llama-3.1-8b", [BY_TURNS], 0, 0),
        ("demo", ["publish.enabled=false"], 0, 0),
    ],
)
def test_an_endpoint_asks_for_no_gpu_before_a_decision(
    recipe: str, settings: list[str], after_begin: int, after_first_training: int
) -> None:
    coordinator = Publishing()
    endpoint = RunEndpoint(load_recipe(recipe, settings), coordinator)
    endpoint.begin()
    assert coordinator.started == after_begin
    for _ in range(2):
        endpoint.evaluating()
    assert coordinator.started == after_first_training
    assert endpoint.last == (recipe == "llama-3.1-8b" and BY_TURNS in settings)


def test_a_run_without_an_endpoint_waits_for_none() -> None:
    assert not RunEndpoint(load_recipe("demo", ["publish.enabled=false"]), Publishing()).up()


@ray.remote(num_cpus=0)
def trained(until: str) -> None:
    """A training run that ends once a file is there."""
    while not Path(until).is_file():
        time.sleep(0.02)


def job(index: int) -> Assignment:
    return Assignment(
        index=index, cycle=1, algorithm="kto", champion=POLICY, reference=POLICY, rows="/r", output="/o", version="v",
        seed=1, run="/run",
    )  # fmt: skip


def runs_of(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[TrainingRuns, dict[str, Any]]:
    """The trainings of a recipe, whose runs are stand-ins; and the settings of each that was launched."""
    launched: dict[str, Any] = {}

    def launch(config: TrainConfig, name: str, *rest: Any) -> Any:
        launched[name] = config
        return trained.remote(str(folder / name))

    monkeypatch.setattr(training_runs, "launch_training", launch)
    return TrainingRuns(recipe, None, "namespace", "session", str(folder)), launched


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.ray
def test_on_one_gpu_the_second_training_begins_when_the_first_has_ended(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = divided(load_recipe("llama-3.2-3b", [BY_TURNS]), 1)
    runs, launched = runs_of(recipe, tmp_path, monkeypatch)
    jobs = {"kto": job(0), "dpo": job(0)}
    runs.begin(jobs)
    runs.watch(jobs)
    assert list(launched) == ["kto"]

    def both_began() -> bool:
        runs.watch(jobs)
        return list(launched) == ["kto", "dpo"]

    (tmp_path / "kto").touch()
    wait_until(both_began)
    (tmp_path / "dpo").touch()
    runs.leave()
    # One worker, whose optimizer step has the rows of two.
    assert launched["kto"].workers_per_run == 1
    assert launched["kto"].challengers["kto"].gradient_accumulation == 16


@pytest.mark.ray
def test_all_begin_at_once_where_each_has_workers_and_share_gpus_with_engines_that_sleep(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = divided(load_recipe("llama-3.1-8b", [BY_TURNS, "cluster.between_turns=sleep"]), 8)
    runs, launched = runs_of(recipe, tmp_path, monkeypatch)
    runs.begin({"kto": job(0), "dpo": job(0)})
    assert {name: config.workers_per_run for name, config in launched.items()} == {"kto": 5, "dpo": 3}
    assert {config.gpus_per_worker for config in launched.values()} == {TRAINER_SHARE}
    for name in launched:
        (tmp_path / name).touch()
    runs.leave()
