"""The stages of a run and what is up in each: everything from start to end, or by turns what is due."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from actors.contract.records import Record
from pipelines.cluster.demand import ENGINE_GPU_GIB, Part, PlanRow, demand, fine_tuning_demand
from pipelines.cluster.turns.cost import endpoint_gpus
from pipelines.cluster.turns.division import judged_beside, slept
from pipelines.config.recipe import Recipe


class Stage(Record):
    """Actors that are up at once."""

    name: str
    rows: tuple[PlanRow, ...]

    def total(self, what: str) -> float:
        """All of its CPUs, GPUs or memory, by the name of a row's field."""
        return float(sum(row.count * getattr(row, what) for row in self.rows))


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a whole run; one where each actor has its place from start to end.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    if recipe.cluster.placement == "apart":
        return (*fine_tuning_stages(recipe), Stage(name="run", rows=demand(recipe)))
    return (*fine_tuning_stages(recipe), *_by_turns(recipe))


def fine_tuning_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """The fine-tuning before the cycles, where the recipe asks for it: nothing else is up meanwhile."""
    rows = fine_tuning_demand(recipe)
    return (Stage(name="fine-tune", rows=rows),) if rows else ()


def engine_stages(recipe: Recipe, name: str, beside: tuple[Part, ...] = ()) -> Iterator[Stage]:
    """Answers that are sampled and judged: in one stage, or in two where GPUs do not hold both pools."""
    if judged_beside(recipe):
        yield Stage(name=name, rows=demand(recipe, ("coordinate", "generate", "judge", *beside)))
        return
    yield Stage(name=f"{name}: sample", rows=demand(recipe, ("coordinate", "generate", *beside)))
    yield Stage(name=f"{name}: judge", rows=demand(recipe, ("coordinate", "judge", *beside)))


def training_stages(recipe: Recipe, beside: tuple[Part, ...] = ()) -> Iterator[Stage]:
    """Judgments become rows, and challengers are trained on them, at once or one after the other."""
    sleepers = tuple(_sleepers(recipe))
    yield Stage(name="shuffle", rows=(*demand(recipe, ("coordinate", "shuffle", *beside)), *sleepers))
    parts: tuple[Part, ...] = ("coordinate", "train", *beside)
    names = tuple(recipe.train.challengers)
    for together in (names,) if recipe.train.at_once else tuple((name,) for name in names):
        name = "train" if recipe.train.at_once else f"train {together[0].upper()}"
        rows = demand(recipe, parts, together)
        yield Stage(name=name, rows=(*(_beside(row) if sleepers else row for row in rows), *sleepers))


def _sleepers(recipe: Recipe) -> Iterator[PlanRow]:
    """Engines that sleep: they keep their processes, and a little of their GPUs' memory."""
    if not slept(recipe):
        return
    for row in demand(recipe, ("generate", "judge")):
        if row.gpus:
            yield row.model_copy(update={"actor": f"{row.actor}, asleep", "gpus": 0.0, "gpu_memory_gib": 0.0})


def _beside(row: PlanRow) -> PlanRow:
    """A worker on the GPU of an engine that sleeps, which keeps its CUDA context and graphs there."""
    return row.model_copy(update={"gpu_memory_gib": row.gpu_memory_gib + ENGINE_GPU_GIB}) if row.gpus else row


def step_stages(recipe: Recipe, starts: Collection[Part]) -> tuple[Stage, ...]:
    """The stages of one step by itself: of `salus generate`, `judge`, `train` or `evaluate`.

    Args:
        recipe: divided, where it is by turns.
        starts: what the step starts: generate, judge, both, or train.

    Raises:
        SalusError: the size of a model that it starts cannot be told.
    """
    if "train" in starts:
        return tuple(training_stages(recipe))
    if set(starts) == {"generate", "judge"}:
        return tuple(engine_stages(recipe, "evaluate", ("control",)))
    return (Stage(name="+".join(starts), rows=demand(recipe, ("coordinate", *starts))),)


def served_last(recipe: Recipe) -> bool:
    """Whether the endpoint is started after the last cycle: by turns, where it needs GPUs that others use till then."""
    return recipe.cluster.placement == "by_turns" and endpoint_gpus(recipe) > 0


def _by_turns(recipe: Recipe) -> Iterator[Stage]:
    last = served_last(recipe)
    # An endpoint on CPUs is up from the start, as it takes no other stage's GPUs.
    beside: tuple[Part, ...] = () if last else ("publish",)
    yield from engine_stages(recipe, "generate and judge", beside)
    yield from training_stages(recipe, beside)
    yield from engine_stages(recipe, "evaluate", ("control", *beside))
    if last:
        yield Stage(name="publish", rows=demand(recipe, ("coordinate", "publish")))
