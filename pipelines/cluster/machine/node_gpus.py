"""What the GPUs of a cluster's nodes hold: Ray counts them, and knows nothing of their memory."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.cluster.devices import gpu_memories_gib

# A node that is up starts a worker process in seconds.
_TIMEOUT_S = 30.0
# The resource by which Ray names the kind of a node's GPUs, as "accelerator_type:H100".
_KIND = "accelerator_type:"


def smallest_gpu_gib() -> float | None:
    """Memory of the smallest GPU of the cluster that this process is part of; None where no node with a GPU tells.

    One node of each kind of GPU is asked. Ray tells nothing of a node that is still to be started.
    """
    task: Any = ray.remote(num_cpus=0, max_retries=0)(gpu_memories_gib)
    asked = [
        # A task that reserves no GPU may be shown none.
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(of_process=False)
        for node in _one_of_each_kind()
    ]
    done, late = ray.wait(asked, num_returns=len(asked), timeout=_TIMEOUT_S) if asked else ([], [])
    for each in late:
        ray.cancel(each, force=True)
    return min((gib for each in done for gib in _told(each)), default=None)


def _one_of_each_kind() -> list[str]:
    """The ids of the nodes that are asked."""
    found: dict[tuple[str, ...], str] = {}
    for node in ray.nodes():
        has = node["Resources"]
        if node["Alive"] and has.get("GPU", 0.0) > 0:
            found.setdefault(tuple(sorted(name for name in has if name.startswith(_KIND))), node["NodeID"])
    return list(found.values())


def _told(answer: ray.ObjectRef[list[float]]) -> list[float]:
    try:
        return ray.get(answer)
    except RayError:
        # Its node has gone meanwhile.
        return []
