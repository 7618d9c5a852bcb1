"""Settings of the Ray a run lives in: an embedded one, or a cluster; and how long others wait for it."""

from __future__ import annotations

import os

from pydantic import Field

from pipelines.config.section import Section

# Ray's job manager sets it for the command of a job, and nothing else does.
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def in_ray_job() -> bool:
    """Whether this process was started by `ray job submit`."""
    return _JOB_CONFIG in os.environ


class ClusterConfig(Section):
    """Where the run lives: an embedded Ray on this machine, or a cluster that is already up."""

    address: str | None = Field(
        None, description='Ray address ("auto" on a cluster); None: embedded, or in a Ray job its cluster'
    )
    logical_cpus: int | None = Field(
        None,
        ge=1,
        description="CPU slots of the embedded Ray, or CPUs that a cluster may grow to; None: what the plan needs, so a"
        " laptop's cores are shared, or what the cluster has",
    )
    gpus: int | None = Field(
        None, ge=0, description="GPUs of the embedded Ray, or those a cluster may grow to; None: those present"
    )
    node_gpus: int | None = Field(
        None, ge=0, description="GPUs of the largest node a cluster may grow to; None: of those present, or all of gpus"
    )
    gpu_memory_gib: float | None = Field(
        None, gt=0, description="memory of the smallest GPU of a cluster; None: not known, and not checked"
    )
    memory_gib: float | None = Field(
        None, gt=0, description="memory the plan may use, of a cluster what it may grow to; None: what is free"
    )
    node_boot_s: float = Field(
        900.0,
        ge=0,
        description="how long a node takes to come, from the request to the first task. Waits for actors are longer by"
        " that where the cluster may still grow",
    )
    object_store_gib: float = Field(
        0.5, ge=0.1, description="memory of the embedded Ray's object store, through which steps hand on their rows"
    )
    wait_s: float = Field(600.0, gt=0, description="longest wait for actors to start")
    lease_s: float = Field(
        60.0,
        ge=15,
        description="a run folder whose process gave no sign of life for so long (it gives one every 3 s) may be"
        " taken over by another",
    )

    @property
    def joined(self) -> str | None:
        """The address of the cluster that is joined; None: Ray is embedded. A job joins the cluster it runs on."""
        return "auto" if self.address is None and in_ray_job() else self.address
