"""The nodes of a joined cluster: what each must see, and how long they were held."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.cluster import nodes
from pipelines.cluster.nodes import NodeWatch, missing, node_check
from pipelines.cluster.times import NodesHeld, NodeUse, StageTime, Work
from pipelines.cluster.turns.cost import busy_gpu_s
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import load_recipe


def test_what_a_node_does_not_see_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_LATE_S", 0.0)
    probe, answer, model = tmp_path / ".probe", tmp_path / ".answer", tmp_path / "model"
    assert missing(str(probe), str(answer), ()) == f"{tmp_path}: the probe file of this run is not there"
    probe.touch()
    assert missing(str(probe), str(answer), (str(model),)) == f"{model}: there is no such folder"
    model.mkdir()
    assert not answer.exists()
    assert missing(str(probe), str(answer), (str(model),)) is None
    assert answer.exists()


def test_a_folder_that_a_node_may_not_write_to_is_said(tmp_path: Path) -> None:
    probe = tmp_path / ".probe"
    probe.touch()
    assert "it cannot write there" in str(missing(str(probe), "/proc/answer", ()))


def test_an_embedded_ray_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    node_check(ClusterConfig(), tmp_path, ())()


def test_seconds_of_nodes_add_up_as_they_come_and_go() -> None:
    watch = NodeWatch()
    watch.look([], 0.0)
    watch.look([8.0], 10.0)
    watch.look([8.0, 2.0], 20.0)
    watch.look([8.0], 30.0)
    watch.look([], 35.0)
    assert watch.held == NodesHeld(node_s=10 + 20 + 5, gpu_s=80 + 100 + 40, most=2)
    assert (watch.held + NodesHeld(node_s=5, gpu_s=20, most=3)).most == 3


def test_idle_is_what_no_engine_or_trainer_used() -> None:
    recipe = load_recipe("llama-3.1-8b")
    # Its engines take one GPU each, and a training two workers of one GPU.
    work = (
        Work(kind="generator", worker="0", start_s=0, end_s=30),
        Work(kind="judge", worker="0", start_s=10, end_s=30),
        Work(kind="trainer", worker="kto", start_s=30, end_s=60),
    )
    busy = busy_gpu_s(recipe, [StageTime(stage="all", wall_s=60, busy_s=60, work=work)])
    workers = recipe.train.workers_per_run * recipe.train.gpus_per_worker
    assert busy == 30 + 20 + 30 * workers
    use = NodeUse.of(NodesHeld(node_s=60, gpu_s=480, most=1), busy)
    assert use is not None
    assert use.ideal_s == round(60 * busy / 480, 1)
    assert use.idle_share == round(1 - busy / 480, 4)
    assert NodeUse.of(NodesHeld(), 0.0) is None
