"""Answers that no run generated, as shards on disk for a judge pool."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from actors.contract.records import PolicyRef
from actors.files.shards import write_table
from actors.judges.judge import JudgmentTask
from pipelines.config.recipe import Recipe


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
        tasks.append(JudgmentTask(rollouts=str(path), output=judged, weights=load))
    return tasks
