"""What judging a whole run took and how united its judges were: sums over every shard that was judged."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.run_folder import RunFolder
from actors.files.shards import shard_files
from actors.judges.usage import Usage, usage_of
from pipelines.config.recipe import Recipe
from pipelines.runs.summary import Disagreement, Summary

COLUMN = "disagreement"


def judge_usage(folder: RunFolder) -> Usage | None:
    """Requests, tokens and price over all cycles, evaluations and scores; None where no server charged.

    Raises:
        SalusError: a usage record cannot be read.
    """
    total = sum((usage_of(asked) for asked in (*folder.judged(), *folder.outside(), *folder.rated())), Usage())
    return total if total.requests else None


def judge_disagreement(folder: RunFolder, recipe: Recipe) -> Disagreement | None:
    """The mean over all judged answers, shard by shard; None where one judge judged alone."""
    if len(recipe.judge.voices) < 2:
        return None
    apart, n = 0.0, 0
    for judged in folder.judged():
        for file in shard_files(judged):
            # A shard of an earlier version has no such column.
            if COLUMN in pq.read_schema(file).names:
                column = pq.read_table(file, columns=[COLUMN])[COLUMN]
                apart += pc.sum(column).as_py() or 0.0
                n += len(column) - column.null_count
    return Disagreement(mean=apart / n, n=n) if n else None


def judging_lines(summary: Summary) -> Iterator[str]:
    """The same in words, as far as there is something to say."""
    usage, apart = summary.judge_usage, summary.judge_disagreement
    if usage is not None:
        price = f", {usage.cost_usd:,.4f} USD" if usage.cost_usd else ""
        yield (
            f"remote judge: {usage.requests:,} requests, {usage.prompt_tokens:,} prompt and"
            f" {usage.completion_tokens:,} completion tokens{price}"
        )
    if apart is not None:
        yield f"judges apart by {apart.mean:.3f} on average (0 agreed, 1 opposed), n {apart.n:,}"
