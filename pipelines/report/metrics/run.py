"""What a run tells while it runs, through Ray's metrics: its stage, its rows, its tokens, and how busy its GPUs are.

The driver records them. Ray's agent on its node exports them to Prometheus with `ray_` before each name, and `_total`
behind that of a counter. Every name and meaning is in `METRICS`, from which the board is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import ray
from ray.util import metrics as ray_metrics

from actors.contract.records import Record
from actors.contract.span import Span
from pipelines.cluster.plan import make_plan
from pipelines.cluster.times import StageTime
from pipelines.cluster.turns.cost import GpuShares, worker_gpus
from pipelines.config.recipe import Recipe

Rows = Literal["rollouts", "judgments"]


class MetricKind(Record):
    """One metric: what it counts, and by which tags beside `run`."""

    kind: Literal["gauge", "counter"]
    meaning: str
    tags: tuple[str, ...] = ()

    def exported(self, name: str) -> str:
        """The name under which Prometheus knows it."""
        return f"ray_{name}_total" if self.kind == "counter" else f"ray_{name}"


METRICS: dict[str, MetricKind] = {
    "salus_run_cycle": MetricKind(kind="gauge", meaning="The cycle under way."),
    "salus_run_stage": MetricKind(kind="gauge", meaning="1 while a stage of a cycle runs, else 0.", tags=("stage",)),
    "salus_run_stage_seconds": MetricKind(
        kind="counter", meaning="Wall time of the stages that have ended.", tags=("stage",)
    ),
    "salus_run_rows": MetricKind(kind="counter", meaning="Answers that were sampled, and judged.", tags=("kind",)),
    "salus_run_tokens": MetricKind(kind="counter", meaning="Tokens of sampled answers."),
    "salus_run_work_seconds": MetricKind(
        kind="counter", meaning="Time in which engines and trainers worked, of all workers together.", tags=("kind",)
    ),
    "salus_run_gpu_seconds": MetricKind(
        kind="counter", meaning="GPU-seconds in which workers used their GPUs, and that the run held.", tags=("state",)
    ),
    "salus_run_busy_share": MetricKind(
        kind="gauge", meaning="Share of the last stage's time in which an engine or trainer worked.", tags=("stage",)
    ),
}


class RunMetrics:
    """The metrics of one run. Life: (stage -> ended)*, with rows meanwhile; nothing where Ray is not up."""

    def __init__(self, run: str, gpus: GpuShares | None = None) -> None:
        """`run`: its name, which is the tag `run` of all metrics; `gpus`: what its workers use and it holds."""
        self._gpus = gpus or GpuShares()
        self._gauges: dict[str, ray_metrics.Gauge] = {}
        self._counters: dict[str, ray_metrics.Counter] = {}
        self._run = run

    @contextmanager
    def stage(self, cycle: int, stage: str) -> Iterator[None]:
        """A stage of a cycle runs inside."""
        self._set("salus_run_cycle", cycle)
        self._set("salus_run_stage", 1, stage=stage)
        try:
            yield
        finally:
            self._set("salus_run_stage", 0, stage=stage)

    def ended(self, time: StageTime) -> None:
        """Count a stage that has ended: its time, and who worked in it."""
        self._count("salus_run_stage_seconds", time.wall_s, stage=time.stage)
        self._set("salus_run_busy_share", time.busy_s / time.wall_s if time.wall_s > 0 else 0.0, stage=time.stage)
        for work in time.work:
            self._count("salus_run_work_seconds", work.end_s - work.start_s, kind=work.kind)
        self._count("salus_run_gpu_seconds", self._gpus.used(time), state="used")
        self._count("salus_run_gpu_seconds", time.wall_s * self._gpus.held, state="held")

    def generated(self, span: Span) -> None:
        """Count a shard of answers that were sampled; one that was read back from disk was counted before."""
        if span.end_s > span.start_s:
            self._count("salus_run_rows", span.rows, kind="rollouts")
            self._count("salus_run_tokens", span.tokens)

    def judged(self, rows: int) -> None:
        """Count a shard of answers that were judged."""
        self._count("salus_run_rows", rows, kind="judgments")

    def _set(self, name: str, value: float, **tags: str) -> None:
        if not ray.is_initialized():
            return
        if name not in self._gauges:
            self._gauges[name] = ray_metrics.Gauge(name, METRICS[name].meaning, ("run", *METRICS[name].tags))
        self._gauges[name].set(value, tags=self._tagged(tags))

    def _count(self, name: str, more: float, **tags: str) -> None:
        # Ray's counter refuses to be raised by 0.
        if more <= 0 or not ray.is_initialized():
            return
        if name not in self._counters:
            self._counters[name] = ray_metrics.Counter(name, METRICS[name].meaning, ("run", *METRICS[name].tags))
        self._counters[name].inc(more, tags=self._tagged(tags))

    def _tagged(self, tags: Mapping[str, str]) -> dict[str, str]:
        return {"run": self._run, **tags}


def gpu_shares(recipe: Recipe) -> GpuShares:
    """What the workers of a recipe's run use, and what it holds by its plan.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    return worker_gpus(recipe).model_copy(update={"held": make_plan(recipe).gpus})
