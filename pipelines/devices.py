"""What a machine or a cluster has: CPUs, GPUs and memory, read without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from actors.records import Record

if TYPE_CHECKING:
    from pipelines.config.recipe import Recipe

GIB = 2**30
NVIDIA_SMI_TIMEOUT_S = 20


class Resources(Record):
    """What a run may use. `cpus` None: as many slots as it asks for, on shared cores (embedded Ray)."""

    where: str
    # A cluster that others use too and that may grow; False: this machine.
    shared: bool = False
    cpus: float | None
    gpus: float
    memory_gib: float
    # GPUs of the largest node.
    node_gpus: float
    # Of the smallest GPU; None: not known.
    gpu_memory_gib: float | None


def available(recipe: Recipe) -> Resources:
    """What the recipe's Ray has, or will have.

    The recipe's `cluster.logical_cpus`, `gpus` and `memory_gib` overrule what is found. With an address this
    process must have joined that cluster already; nodes that may still be started count where the cluster's
    autoscaler says so.
    """
    cluster = recipe.cluster
    found = this_machine() if cluster.address is None else _cluster(cluster.address)
    return found.model_copy(
        update={
            name: value
            for name, value in (
                ("cpus", cluster.logical_cpus),
                ("gpus", cluster.gpus),
                ("node_gpus", None if cluster.gpus is None else max(found.node_gpus, cluster.gpus)),
                ("memory_gib", cluster.memory_gib),
            )
            if value is not None
        }
    )


def this_machine() -> Resources:
    """This machine, with the memory that is free now."""
    memories = gpu_memories_gib()
    return Resources(
        where="this machine",
        cpus=None,
        gpus=len(memories),
        node_gpus=len(memories),
        memory_gib=round(psutil.virtual_memory().available / GIB, 1),
        gpu_memory_gib=min(memories, default=None),
    )


def gpu_memories_gib() -> list[float]:
    """Memory of each NVIDIA GPU this process may use; empty where the driver is missing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = subprocess.run(
        [program, "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=NVIDIA_SMI_TIMEOUT_S,
        check=False,
    )
    if asked.returncode != 0:
        return []
    return visible_gpus(asked.stdout, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible_gpus(listing: str, visible: str | None) -> list[float]:
    """GiB of each GPU of `index, uuid, MiB` lines that CUDA_VISIBLE_DEVICES lets through (None: all)."""
    gpus = [[cell.strip() for cell in line.split(",")] for line in listing.splitlines() if line.strip()]
    wanted = None if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    return [
        float(mib) / 1024
        for index, uuid, mib in gpus
        if wanted is None
        or index in wanted
        or any(name.startswith("GPU-") and uuid.startswith(name) for name in wanted)
    ]


def free_disk_gib(folder: Path) -> float:
    """Free space where `folder` is or would be made."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free / GIB


def _cluster(address: str) -> Resources:
    # Ray is imported by the commands that need it; the plan of an embedded run does not.
    import ray
    from ray._private.state import state

    now = ray.cluster_resources()
    # What the autoscaler may grow to; None without one that says.
    later = state.get_max_resources_from_cluster_config() or {}
    most = {name: max(now.get(name, 0.0), float(later.get(name, 0.0))) for name in ("CPU", "GPU", "memory")}
    nodes = [node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]]
    return Resources(
        where=f"the cluster at {address}",
        shared=True,
        cpus=most["CPU"],
        gpus=most["GPU"],
        # A node still to be started may be larger than any that is up; Ray does not say by how much.
        node_gpus=most["GPU"] if most["GPU"] > sum(nodes) else max(nodes, default=0.0),
        memory_gib=round(most["memory"] / GIB, 1),
        gpu_memory_gib=None,
    )
