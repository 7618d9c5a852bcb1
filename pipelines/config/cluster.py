"""Settings of the Ray a run lives in: an embedded one, or a cluster; and how long others wait for it."""

from __future__ import annotations

from pydantic import Field

from pipelines.config.section import Section


class SharedJudges(Section):
    """A judge pool of the cluster that several runs use; `salus fleet` starts it and names it here."""

    namespace: str = Field(description="Ray namespace of its actors")
    actors: tuple[str, ...] = Field(min_length=1, description="their names there")
    queue: int = Field(2, ge=1, description="most shards of this run that wait at each of them")
    ahead: int = Field(0, ge=0, description="most shards of the other runs that wait there at the same time")


class ClusterConfig(Section):
    """Where the run lives: an embedded Ray on this machine, or a cluster that is already up."""

    address: str | None = Field(None, description='Ray address ("auto" on a cluster); None: embedded')
    logical_cpus: int | None = Field(
        None,
        ge=1,
        description="CPU slots of the embedded Ray; None: what the plan needs, so a laptop's cores are shared",
    )
    gpus: int | None = Field(None, ge=0, description="GPUs of the embedded Ray; None: those present")
    memory_gib: float | None = Field(None, gt=0, description="memory the plan may use; None: what is free")
    object_store_gib: float = Field(
        0.5, ge=0.1, description="memory of the embedded Ray's object store, through which steps hand on their rows"
    )
    wait_s: float = Field(600.0, gt=0, description="longest wait for actors to start")
    shared_judges: SharedJudges | None = Field(
        None,
        description="a judge pool that other runs of the cluster use too, as salus fleet sets it; None: the run starts"
        " its own",
    )
    lease_s: float = Field(
        60.0,
        ge=15,
        description="a run folder whose process gave no sign of life for so long (it gives one every 3 s) may be"
        " taken over by another",
    )
