"""How large the pods of a plan are: a head without GPUs, and workers that come when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from actors.contract.records import Record
from actors.errors import SalusError
from pipelines.cluster.demand import PlanRow
from pipelines.cluster.plan import Plan

# Ray's object store takes 30 % of a node's memory, unless it is told another size.
USABLE = 0.7
# Of the head beside what is planned: Ray's processes, the autoscaler's questions, and Ray Data's tasks.
HEAD_CPUS = 4
HEAD_GIB = 8
WORKER_GIB = 4


class PodSize(Record):
    """One pod: what it requests, which is also its limit. GiB are whole."""

    cpus: int
    memory_gib: int
    gpus: int = 0


class PodSizes(Record):
    """A cluster: its head, and one kind of worker, of which there are from none to `most`."""

    head: PodSize
    worker: PodSize
    most: int

    @property
    def cpus(self) -> int:
        """Of all pods together, when all workers are there."""
        return self.head.cpus + self.most * self.worker.cpus

    @property
    def gpus(self) -> int:
        """Of all workers together."""
        return self.most * self.worker.gpus

    @property
    def memory_gib(self) -> int:
        """That Ray calls memory, of all pods together, when all workers are there."""
        return math.floor(USABLE * (self.head.memory_gib + self.most * self.worker.memory_gib))


def pod_sizes(plan: Plan, gpus_per_node: int) -> PodSizes:
    """The pods that hold a plan.

    Actors with GPUs run on workers, and all others on the head. A plan without GPUs has one worker, for engines and
    trainers, whose memory must not end the head.

    Args:
        plan: the actors.
        gpus_per_node: GPUs of one worker; a smaller plan takes fewer.

    Raises:
        SalusError: an actor needs more GPUs than one worker has, or does not divide a worker's GPUs.
    """
    on_gpus = [row for row in plan.rows if row.gpus > 0]
    if not on_gpus:
        return _without_gpus(plan.rows)
    gpus = min(gpus_per_node, math.ceil(plan.gpus))
    for row in on_gpus:
        _check_fits(row, gpus)
    others = [row for row in plan.rows if row.gpus == 0]
    return PodSizes(
        head=PodSize(
            cpus=HEAD_CPUS + math.ceil(sum(row.count * row.cpus for row in others)),
            memory_gib=HEAD_GIB + _whole_gib(sum(row.count * row.memory_gib for row in others)),
        ),
        worker=PodSize(
            cpus=max(1, math.ceil(_of_one(on_gpus, gpus, "cpus"))),
            memory_gib=WORKER_GIB + _whole_gib(_of_one(on_gpus, gpus, "memory_gib")),
            gpus=gpus,
        ),
        most=math.ceil(plan.gpus / gpus),
    )


def _without_gpus(rows: Sequence[PlanRow]) -> PodSizes:
    cpus = math.ceil(sum(row.count * row.cpus for row in rows))
    memory = _whole_gib(sum(row.count * row.memory_gib for row in rows))
    return PodSizes(
        head=PodSize(cpus=HEAD_CPUS, memory_gib=HEAD_GIB),
        worker=PodSize(cpus=max(1, cpus), memory_gib=WORKER_GIB + memory),
        most=1,
    )


def _check_fits(row: PlanRow, gpus: int) -> None:
    if row.gpus > gpus:
        raise SalusError(
            f"One {row.actor} needs {row.gpus:g} GPUs of one node, and a worker has {gpus}; give larger nodes with"
            f" --gpus-per-node, or split it less in section {row.section}."
        )
    if row.gpus >= 1 and gpus % row.gpus:
        raise SalusError(
            f"A worker's {gpus} GPUs do not divide by the {row.gpus:g} of one {row.actor}, so some would stay idle; set"
            " --gpus-per-node to a multiple."
        )


def _of_one(rows: Sequence[PlanRow], gpus: int, what: str) -> float:
    """What one worker must have of a resource, whichever of the actors are placed on it."""
    total = sum(row.count * float(getattr(row, what)) for row in rows)
    densest = max(float(getattr(row, what)) / row.gpus for row in rows)
    return min(total, gpus * densest)


def _whole_gib(planned: float) -> int:
    """Memory of a pod in which so much is left beside the object store."""
    return math.ceil(planned / USABLE)
