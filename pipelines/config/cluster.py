"""Settings of the Ray a run lives in: an embedded one, or a cluster; and how long others wait for it."""

from __future__ import annotations

import os
from typing import Literal, get_args

from pydantic import Field

from pipelines.config.section import Section

# Ray's job manager sets it for the command of a job, and nothing else does.
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def in_ray_job() -> bool:
    """Whether this process was started by `ray job submit`."""
    return _JOB_CONFIG in os.environ


# apart: engines, trainers and endpoint each hold what they need from the run's start to its end. by_turns: all do what
# is due, so that no GPU waits for another stage.
Placement = Literal["apart", "by_turns"]


class PlanAssumptions(Section):
    """What the plan's hours rest on: our estimates of one H100, from no run of Salus. Measure yours, and set them."""

    prompt_tokens: float = Field(100, gt=0, description="tokens of a prompt, on average")
    answer_tokens: float = Field(250, gt=0, description="tokens of an answer, on average")
    judge_tokens: float = Field(300, ge=0, description="tokens of the judge's instructions beside prompt and answer")
    validation_prompts: int = Field(
        1848, ge=1, description="validation prompts where data.validation names no number; CARES-18K's tenth"
    )
    pairs_share: float = Field(
        0.6,
        gt=0,
        le=1,
        description="pairs that answers give, as a share of the most that pairs_per_prompt allows. Tiny policies of the"
        " clinic gave .4, MedSafetyBench .65",
    )
    sampled_tokens_s: float = Field(
        13_000, gt=0, description="tokens that one GPU samples in a second of a model of 8 x 10^9 parameters"
    )
    tflops: float = Field(
        330, gt=0, description="10^12 operations in a second of one GPU that trains, or reads prompts"
    )
    open_engine_s: float = Field(60, ge=0, description="seconds until engines are up")
    wake_engine_s: float = Field(10, ge=0, description="seconds until sleeping engines have their weights again")
    start_training_s: float = Field(30, ge=0, description="seconds until the workers of a training are up")
    shuffle_s: float = Field(5, ge=0, description="seconds in which a cycle's judgments become training rows")
    decide_s: float = Field(5, ge=0, description="seconds of a cycle's decision")


class SharedPool(Section):
    """Generators or judges of the cluster that several runs ask; `salus fleet` starts them and names them here."""

    namespace: str = Field(description="Ray namespace of its actors")
    actors: tuple[str, ...] = Field(min_length=1, description="their names there")
    queue: int = Field(2, ge=1, description="most shards of this run that wait at each of them")
    ahead: int = Field(0, ge=0, description="most shards of the other runs that wait there at the same time")


class SharedTrainers(Section):
    """Resident trainers of the cluster that several runs give their jobs to, by the actor that hands these out."""

    namespace: str = Field(description="Ray namespace of that actor")
    actor: str = Field(description="its name there")


# What several runs of one Ray may share, and the settings that name it.
SharedKind = Literal["judges", "generators", "trainers"]
SHARED = tuple(f"shared_{kind}" for kind in get_args(SharedKind))


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
        None, gt=0, description="memory of the smallest GPU; None: what nvidia-smi says where GPUs are up"
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
    placement: Placement = Field(
        "apart",
        description="apart: engines, trainers and endpoint have GPUs of their own from start to end. by_turns: all GPUs"
        " do what is due: they sample and judge, then train, then evaluate, and at the end serve. The numbers of GPU"
        " engines and training workers then follow from the GPUs that there are",
    )
    between_turns: Literal["close", "sleep"] = Field(
        "close",
        description="what becomes of engines while others have their turn. close: they end, and start anew. sleep: they"
        " keep their process and give back weights and cache, where engine and placement allow it",
    )
    gpu_hour_price: float | None = Field(
        None, ge=0, description="what one GPU costs in an hour, in your currency; None: no money is told"
    )
    assumed: PlanAssumptions = Field(PlanAssumptions(), description="speeds that the plan's hours are estimated by")
    wait_s: float = Field(600.0, gt=0, description="longest wait for actors to start")
    shared_judges: SharedPool | None = Field(
        None,
        description="a judge pool that other runs of the cluster use too, as salus fleet sets it; None: the run starts"
        " its own",
    )
    shared_generators: SharedPool | None = Field(
        None, description="the same of generators, which change their weights from one run's shard to another's"
    )
    shared_trainers: SharedTrainers | None = Field(
        None, description="trainers that other runs of the cluster use too, as salus fleet sets it; None: its own"
    )

    @property
    def shared(self) -> dict[str, SharedPool | SharedTrainers]:
        """What the run asks that other runs ask too, by its setting."""
        each = {name: getattr(self, name) for name in SHARED}
        return {name: found for name, found in each.items() if found is not None}

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
