"""Whether actors fit the GPUs that they share: their memory together, their collectives, and an engine's answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from actors.errors import SalusError
from pipelines.cluster.demand import PlanRow
from pipelines.cluster.devices import LEAST_DRIVER, Resources, new_enough

# Ray counts GPUs to the fourth decimal.
_TINY = 1e-4


def check_gpus(recipe: str, rows: Sequence[PlanRow], resources: Resources) -> None:
    """Refuse shares of GPUs that cannot work.

    Raises:
        SalusError: names the actors, the memory that they need, and how to mend it.
    """
    on_gpus = [row for row in rows if row.gpus > 0]
    if on_gpus and resources.driver is not None and not new_enough(resources.driver):
        raise SalusError(
            f"Recipe {recipe} needs GPUs, and torch needs NVIDIA's driver {LEAST_DRIVER} or newer, but the driver of"
            f" {resources.where} is {resources.driver}. Install a newer one, or plan a recipe for the CPU."
        )
    for row in on_gpus:
        if row.gpus > 1 and row.gpus != int(row.gpus):
            raise SalusError(
                f"One {row.actor} of recipe {recipe} is to have {row.gpus:g} GPUs; in section {row.section} give it"
                " whole GPUs, or a part of one."
            )
        if row.collective and row.count > 1 and row.gpus <= 0.5 + _TINY:
            raise SalusError(
                f"The {row.count} {row.actor}s of recipe {recipe} are to have {row.gpus:g} GPUs each. Ray may put two"
                f" on one GPU, which NCCL refuses. In section {row.section} set gpus_per_worker=1, or"
                " workers_per_run=1."
            )
    if resources.gpu_memory_gib is not None:
        _check_shared(recipe, [row for row in on_gpus if row.gpus < 1], resources.gpu_memory_gib)


def taken_gib(row: PlanRow, gpu_memory_gib: float) -> float:
    """What one actor takes of a GPU of this size: an engine takes its whole share of the memory, needed or not."""
    return max(row.gpu_memory_gib, row.gpu_memory_utilization * gpu_memory_gib)


def answers_at_once(row: PlanRow, gpu_memory_gib: float) -> int:
    """How many answers of full length the KV cache of one engine holds on GPUs of this size, at most as it is set.

    One fits where the row's own `gpu_memory_gib` does; what is left of the engine's share holds more.
    """
    left_gib = row.gpu_memory_utilization * (gpu_memory_gib - row.gpu_memory_gib)
    if left_gib < 0:
        return 0
    return min(row.sequences, 1 + math.floor(left_gib / row.sequence_gib))


def answer_lines(rows: Sequence[PlanRow], gpu_memory_gib: float | None) -> list[str]:
    """What a plan says of engines whose GPUs hold fewer answers at once than are set."""
    if gpu_memory_gib is None:
        return []
    held = [(row, answers_at_once(row, gpu_memory_gib)) for row in rows if row.gpus > 0 and row.sequences > 0]
    return [
        f"{row.actor}: {at_once} of max_num_seqs={row.sequences} answers fit at once where each is as long as it may be"
        for row, at_once in held
        if at_once < row.sequences
    ]


def _check_shared(recipe: str, rows: Sequence[PlanRow], gpu_memory_gib: float) -> None:
    """Ray puts parts of GPUs together as it likes, so the worst of all ways must fit."""
    worst = max(_together(rows, 1.0), key=lambda counts: _taken(rows, counts, gpu_memory_gib), default=())
    taken = _taken(rows, worst, gpu_memory_gib)
    if sum(worst) < 2 or taken <= gpu_memory_gib:
        return
    who = " and ".join(
        f"{count} {row.actor} ({taken_gib(row, gpu_memory_gib):.0f} GiB)"
        for row, count in zip(rows, worst, strict=True)
        if count
    )
    sections = ", ".join(dict.fromkeys(row.section for row, count in zip(rows, worst, strict=True) if count))
    raise SalusError(
        f"In recipe {recipe} one GPU may be shared by {who}, each with a part of it: {taken:.0f} GiB together, and a"
        f" GPU has {gpu_memory_gib:.0f}. In section {sections} give them larger parts or whole GPUs, or lower"
        " gpu_memory_utilization of the engines."
    )


def _taken(rows: Sequence[PlanRow], counts: Sequence[int], gpu_memory_gib: float) -> float:
    return sum(count * taken_gib(row, gpu_memory_gib) for row, count in zip(rows, counts, strict=True))


def _together(rows: Sequence[PlanRow], left: float) -> Iterator[tuple[int, ...]]:
    """How many actors of each row may be on one GPU, of which this part is left."""
    if not rows:
        yield ()
        return
    first, *others = rows
    for count in range(min(first.count, math.floor((left + _TINY) / first.gpus)) + 1):
        for rest in _together(others, left - count * first.gpus):
            yield (count, *rest)
