"""Several runs in one Ray: prepared, started as there is room for them, watched, and ended with this process."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Collection, Sequence

from actors.contract.records import Record
from actors.files.records import find_record
from actors.files.shards import write_text
from pipelines.cluster.machine.memory import MemoryWatch
from pipelines.cluster.plan import available
from pipelines.cluster.progress import Reporter
from pipelines.config.cluster import ClusterConfig, SharedKind
from pipelines.config.load import save_recipe
from pipelines.runs.lease.lease import Lease
from pipelines.runs.several import SeveralFolder
from pipelines.study.fleet.cluster import shared_ray
from pipelines.study.fleet.division import Division
from pipelines.study.fleet.jobs import Job, last_sentence, run_jobs
from pipelines.study.fleet.member import Failure, Member, MemberWatch, member_job, prepare
from pipelines.study.fleet.pools import RunningPools, shared_pools


class SharedCost(Record):
    """What several runs in one Ray took together, over all sessions; peak memory is that of the costliest."""

    wall_s: float = 0.0
    peak_memory_gib: float = 0.0

    def __str__(self) -> str:
        return f"{self.wall_s:.0f} s, peak memory {self.peak_memory_gib:.1f} GiB"


def divided(members: Sequence[Member], side_by_side: int | None, share: Collection[SharedKind]) -> Division:
    """The members in the room that their Ray has, with the pools of what they may share; nothing is started.

    Raises:
        SalusError: no cluster answers at the members' address, or one of them could never run there.
    """
    there = available(members[0].recipe)
    pools = shared_pools(members, f"salus-shared-{uuid.uuid4().hex[:8]}", share)
    division = Division(tuple(members), there, pools, side_by_side)
    division.check()
    return division


def run_together(
    division: Division, folder: SeveralFolder, cluster: ClusterConfig, reporter: Reporter, lease: Lease
) -> dict[str, Failure]:
    """Run all members; returns those that failed, by name. One that fails stops no other.

    Raises:
        SalusError: what keeps a member from beginning, before anything starts. Also where the folder was taken over.
    """
    members = division.members
    start = time.perf_counter()
    with MemoryWatch() as memory:
        try:
            prepare(members, folder, reporter)
            with shared_ray(cluster, f"salus-{folder.root.name}", division.slots()) as address:
                pools = RunningPools(division.pools, folder.trainers)
                pools.start(reporter)
                jobs = [
                    member_job(each, folder, address, division.there, division.shared(each)) for each in division.order
                ]
                picker = _Picker(division, pools, folder)
                codes = run_jobs(jobs, picker.pick, MemberWatch(members, reporter, lease.check, pools.ended))
        finally:
            # A lost lease is the cause of whatever else went wrong, and the cost's file is its new holder's.
            lease.check()
            _add_cost(folder, time.perf_counter() - start, memory.peak_gib)
            shutil.rmtree(folder.trainers, ignore_errors=True)
    return {
        job.name: Failure(sentence=last_sentence(job.log, codes[job.name]), log=str(job.log))
        for job in jobs
        if codes[job.name] != 0
    }


class _Picker:
    """Picks the jobs for which there is room, and writes the recipe that each is started with."""

    def __init__(self, division: Division, pools: RunningPools, folder: SeveralFolder) -> None:
        self._division, self._pools, self._folder = division, pools, folder
        self._started: dict[str, Member] = {}

    def pick(self, waiting: Sequence[Job], running: Sequence[Job]) -> list[Job]:
        starting = self._division.starting(
            {job.name for job in waiting}, [self._started[job.name] for job in running], self._pools.live()
        )
        for member in starting:
            self._started[member.name] = member
            save_recipe(member.recipe, self._folder.recipe(member.name))
        names = [member.name for member in starting]
        return [job for job in waiting if job.name in names]


def read_cost(folder: SeveralFolder) -> SharedCost:
    """What they took so far."""
    return find_record(SharedCost, folder.cost, "the cost of several runs") or SharedCost()


def _add_cost(folder: SeveralFolder, wall_s: float, peak_memory_gib: float) -> None:
    known = read_cost(folder)
    cost = SharedCost(
        wall_s=round(known.wall_s + wall_s, 1),
        peak_memory_gib=round(max(known.peak_memory_gib, peak_memory_gib), 2),
    )
    write_text(cost.model_dump_json(indent=2), folder.cost)
