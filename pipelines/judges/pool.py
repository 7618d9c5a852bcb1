"""The recipe's judge pool on its own, for answers that no run generated: they are written as shards, and judged."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PolicyRef
from actors.files.shards import write_table
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from actors.judges.regimens import check_voices
from pipelines.cluster.plan import step_plan
from pipelines.cluster.pools import spawn
from pipelines.cluster.progress import Reporter
from pipelines.cluster.session import session
from pipelines.cluster.stream import Limits, ShardTask, stream
from pipelines.config.recipe import Recipe
from pipelines.runs.prompts.lengths import judge_length

# Judges every shard of rollouts, in any order, into the file its task names.
JudgeShards = Callable[[Sequence[JudgmentTask]], None]
# The answers come from no policy of the run; the pool's interface names one all the same.
NO_POLICY = PolicyRef(version="", path="")


def judgment_tasks(recipe: Recipe, rollouts: pa.Table, out: Path, load: PolicyRef | None) -> list[JudgmentTask]:
    """Write rows of `ROLLOUT_SCHEMA` as shards as large as a cycle's below `out`, where nothing earlier is left.

    Args:
        recipe: says how large a shard is.
        rollouts: in the order in which the judgments will be.
        out: receives `rollouts/`, and by the tasks `judgments/`.
        load: the weights that judge; None leaves those the judge has.
    """
    for name in ("rollouts", "judgments"):
        for stale in (out / name).glob("part-*.parquet"):
            stale.unlink()
    rows = recipe.data.prompts_per_shard * recipe.generate.sampling.k
    tasks = []
    for number, start in enumerate(range(0, rollouts.num_rows, rows)):
        path = (out / "rollouts" / f"part-{number:05d}.parquet").absolute()
        write_table(rollouts.slice(start, rows), path)
        judged = str((out / "judgments" / path.name).absolute())
        tasks.append(JudgmentTask(rollouts=str(path), output=judged, weights=load, system=recipe.shown_system_prompt))
    return tasks


@contextlib.contextmanager
def judge_pool(
    recipe: Recipe, weights: PolicyRef | None, reporter: Reporter
) -> Iterator[Callable[[Sequence[JudgmentTask]], None]]:
    """A function that has every shard of rollouts judged; Ray and its actors are up while this is open.

    Args:
        weights: of the judge, as `gather_judge` finds them; None for rules, which start no model engine.

    Raises:
        SalusError: the recipe's plan does not fit, or its judge holds fewer tokens than are set. Also where what it
            judges with is not here, or an engine is not up in time.
    """
    check_voices(recipe.judge)
    if recipe.judge.row.weights is not None and weights is not None:
        judge_length(recipe, weights)
    namespace = f"salus-judge-{uuid.uuid4().hex[:8]}"
    with session(recipe, namespace, step_plan(recipe, "judge")), judging(recipe, weights, reporter) as judge_shards:
        yield judge_shards


@contextlib.contextmanager
def judging(
    recipe: Recipe, weights: PolicyRef | None, reporter: Reporter
) -> Iterator[Callable[[Sequence[JudgmentTask]], None]]:
    """As `judge_pool`, on a Ray that is up.

    Raises:
        SalusError: an engine is not up in time.
    """
    pools = spawn(recipe, weights or NO_POLICY, weights, generate=False, label=True)

    def judge_shards(tasks: Sequence[JudgmentTask]) -> None:
        bar = reporter.bar("judging", len(tasks), "shards")
        try:
            limits = Limits(judge_s=recipe.judge.shard_timeout_s)
            shards = [_shard(recipe, t) for t in tasks]
            stream(shards, (), pools.judges, on_judged=lambda rows: bar.advance(1), limits=limits)
        finally:
            bar.close()

    try:
        pools.wait(recipe.cluster.wait_s)
        yield judge_shards
    finally:
        pools.close()


def _shard(recipe: Recipe, task: JudgmentTask) -> ShardTask:
    """A shard whose rollouts are not generated here."""
    rollout = RolloutTask(
        policy=NO_POLICY, prompts=task.rollouts, output=task.rollouts, sampling=recipe.generate.greedy(), seed=0
    )
    return ShardTask(rollout=rollout, judgment=task)
