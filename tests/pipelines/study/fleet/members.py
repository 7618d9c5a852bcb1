"""Members of a fleet for tests: a tiny policy on the CPU, or one of eight billion parameters on pretended GPUs."""

from __future__ import annotations

from pathlib import Path

from actors.contract.run_folder import RunFolder
from pipelines.cluster.devices import Resources
from pipelines.config.load import load_recipe
from pipelines.study.fleet.member import Member

LAPTOP = Resources(where="this machine", cpus=None, gpus=0, memory_gib=32, node_gpus=0, gpu_memory_gib=None)
NODES = Resources(where="the cluster", shared=True, cpus=512, gpus=16, memory_gib=4000, node_gpus=8, gpu_memory_gib=80)


def member(name: str, *settings: str, weight: float = 1.0, priority: int = 0, recipe: str = "demo") -> Member:
    """The demo's policy, which publishes nothing."""
    made = load_recipe(recipe, [f"name={name}", "publish.enabled=false", *settings])
    return Member(name=name, recipe=made, run=RunFolder(Path("runs") / name), weight=weight, priority=priority)


def on_gpus(name: str, *settings: str, weight: float = 1.0, priority: int = 0) -> Member:
    """One GPU for each generator, one for its judge, and one for each of KTO and DPO."""
    own = ["train.workers_per_run=1", "judge.actors=1", "data.train_per_cycle=1000", "data.prompts_per_shard=10"]
    own += ["judge.regimen=LMA", "judge.path=org/judge", "judge.source=hub", "judge.parameters_b=8"]
    return member(name, *own, *settings, weight=weight, priority=priority, recipe="llama-3.1-8b")
