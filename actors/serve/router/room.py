"""Whether the cluster has room for one application more, asked before anything of it starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import ray

from actors.errors import SalusError
from actors.serve.ray_private import most_resources

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig

# Ray tells what became free some moments later.
_SETTLE_S = 5.0
_LOOK_S = 0.25


def check_room(config: PublisherConfig, version: str, beside: str) -> None:
    """Refuse an application that could not stand beside the one it is to replace.

    Raises:
        SalusError: too few CPUs or GPUs are free, also counting those an autoscaler may still add.
    """
    from actors.serve.config import publisher_cpus, publisher_gpus

    needs = {"CPU": publisher_cpus(config), "GPU": publisher_gpus(config)}
    deadline = time.monotonic() + _SETTLE_S
    while missing := missing_of(needs, free_resources()):
        if time.monotonic() > deadline:
            raise SalusError(
                f"{version} needs an application beside that of {beside} until it answers: {missing}. Add to the"
                " cluster (an embedded Ray: cluster.logical_cpus), lower its replicas, or end the endpoint and start"
                f" it anew with {version}."
            )
        time.sleep(_LOOK_S)


def missing_of(needs: dict[str, float], free: dict[str, float]) -> str:
    """What is short, in words; empty where all is there."""
    short = [(kind, need) for kind, need in needs.items() if need > free.get(kind, 0.0) + 1e-6]
    return ", ".join(f"{need:g} logical {kind}s, and {free.get(kind, 0.0):g} are free" for kind, need in short)


def free_resources() -> dict[str, float]:
    """What nobody has reserved, and what an autoscaler may add."""
    free: dict[str, float] = ray.available_resources()
    there: dict[str, float] = ray.cluster_resources()
    later = most_resources()
    return {
        kind: free.get(kind, 0.0) + max(0.0, float(later.get(kind, 0.0)) - there.get(kind, 0.0))
        for kind in ("CPU", "GPU")
    }
