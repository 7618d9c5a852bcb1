"""What a joined cluster may grow to, and how long a node takes to come, as the run's settings tell.

Ray reports neither on clusters of its launcher. Both are asked in processes that know no recipe, such as those of the
endpoint. So the driver tells all processes of its Ray job by an environment variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import ray
from pydantic import Field

from actors.contract.ray_internals import most_resources
from actors.contract.records import Record

_VARIABLE = "SALUS_CLUSTER_GROWTH"
_KINDS = ("CPU", "GPU")


class Growth(Record):
    """How large the cluster can become; None: as it is, or as its autoscaler reports."""

    cpus: float | None = None
    gpus: float | None = None
    # From the request for a node until it takes work.
    node_boot_s: float = Field(0.0, ge=0)

    @property
    def environment(self) -> dict[str, str]:
        """The variable that tells processes of it."""
        return {_VARIABLE: self.model_dump_json()}


def told_growth() -> Growth:
    """What this process was told; nothing, where it was not."""
    told = os.environ.get(_VARIABLE)
    return Growth.model_validate_json(told) if told else Growth()


def may_have() -> Mapping[str, float]:
    """CPUs and GPUs of the cluster this process is part of, with those that nodes may add that are still to come."""
    now: dict[str, float] = ray.cluster_resources()
    reported, told = most_resources(), told_growth()
    later = {"CPU": told.cpus or 0.0, "GPU": told.gpus or 0.0}
    return {kind: max(now.get(kind, 0.0), float(reported.get(kind, 0.0)), later[kind]) for kind in _KINDS}


def boot_s() -> float:
    """What to add to the limit of a wait for actors: the time of a node to come, where the cluster may still grow."""
    now: dict[str, float] = ray.cluster_resources()
    return told_growth().node_boot_s if any(may_have()[kind] > now.get(kind, 0.0) for kind in _KINDS) else 0.0
