"""By turns, who gets how many GPUs: engines and training workers in numbers that follow their cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from actors.contract.records import ChallengerName
from pipelines.cluster.turns.cost import generator_gpus, judge_gpus, rollout_work, run_training_s, uses_gpus
from pipelines.config.recipe import Recipe

Name = TypeVar("Name", bound=str)
# What Ray counts of a GPU for an engine and for a trainer that share it in turn. Two engines have no room on one GPU,
# and two trainers have none beside an engine, awake or asleep.
ENGINE_SHARE, TRAINER_SHARE = 0.55, 0.45


def divided(recipe: Recipe, gpus: float) -> Recipe:
    """The recipe with as many GPU engines and training workers as `gpus` GPUs give each stage; by turns alone.

    What is on CPUs keeps its numbers, and so do workers that `train.workers` names. A stage has at least
    one engine of each kind, or one worker. Where the GPUs do not hold even these, the plan's check refuses it.

    Dividing twice by the same number is dividing once.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    if recipe.cluster.placement == "apart":
        return recipe
    train = recipe.train.model_copy(update={"resident": False})
    recipe = recipe.model_copy(update={"train": train})
    if not uses_gpus(recipe):
        return recipe
    cluster = recipe.cluster.model_copy(update={"gpus": int(gpus)})
    return _with_workers(_with_engines(recipe.model_copy(update={"cluster": cluster}), int(gpus)), int(gpus))


def judged_beside(recipe: Recipe) -> bool:
    """Whether generators and judges are up at once; else the GPUs are too few, and judges follow generators."""
    generators, judges, gpus = generator_gpus(recipe), judge_gpus(recipe), recipe.cluster.gpus
    if recipe.cluster.placement == "apart" or not generators or not judges or gpus is None:
        return True
    return generators * recipe.generate.actors + judges * recipe.judge.actors <= gpus


def slept(recipe: Recipe) -> bool:
    """Whether engines sleep while others have their turn, rather than end; wished for, and possible.

    Each GPU must hold one engine, which spans no other GPU. An engine that sleeps keeps a share of its GPU in Ray, so
    that one trainer finds room beside it, and no second one.
    """
    wished = recipe.cluster.placement == "by_turns" and recipe.cluster.between_turns == "sleep"
    if not wished or (generator_gpus(recipe), judge_gpus(recipe), recipe.train.gpus_per_worker) != (1, 1, 1):
        return False
    return recipe.generate.actors + recipe.judge.actors == recipe.cluster.gpus


def alone(recipe: Recipe) -> Recipe:
    """The recipe of one step by itself, whose engines have no turn to sleep through."""
    cluster = recipe.cluster.model_copy(update={"between_turns": "close"})
    return recipe.model_copy(update={"cluster": cluster})


def shares(number: int, costs: Mapping[Name, float]) -> dict[Name, int]:
    """`number` things divided so that the costliest share per thing is least; each gets one at least.

    Adding one at a time to whom it helps most finds that least.
    """
    given = dict.fromkeys(costs, 1)
    for _ in range(number - len(costs)):
        # Of equal ones the one that has fewer.
        slowest = max(costs, key=lambda name: (costs[name] / given[name], -given[name]))
        given[slowest] += 1
    return given


def _with_engines(recipe: Recipe, gpus: int) -> Recipe:
    generators, judges = generator_gpus(recipe), judge_gpus(recipe)
    counts = {"generate": max(1, gpus // generators) if generators else recipe.generate.actors}
    counts["judge"] = max(1, gpus // judges) if judges else recipe.judge.actors
    if generators and judges and generators + judges <= gpus:
        counts["generate"], counts["judge"] = _beside(recipe, gpus, generators, judges)
    return recipe.model_copy(
        update={
            name: getattr(recipe, name).model_copy(update={"actors": count})
            for name, count in counts.items()
            if getattr(recipe, name).actors != count
        }
    )


def _beside(recipe: Recipe, gpus: int, generators: int, judges: int) -> tuple[int, int]:
    """How many generators and judges are up at once, of so many GPUs each: those that are done first."""
    work = rollout_work(recipe)
    fitting = [(n, (gpus - n * generators) // judges) for n in range(1, (gpus - judges) // generators + 1)]
    return min(fitting, key=lambda pair: max(work.generate_s / pair[0], work.judge_s / pair[1]))


def _with_workers(recipe: Recipe, gpus: int) -> Recipe:
    train = recipe.train
    if not train.gpus_per_worker:
        return recipe
    number, names = max(1, int(gpus / train.gpus_per_worker)), tuple(train.challengers)
    workers, at_once = dict(train.workers), train.at_once
    if workers:
        # Named by hand, or by the run that is gone on with: other numbers would train other weights.
        at_once = at_once and sum(train.of(name).workers_per_run for name in names) <= number
    else:
        at_once = at_once and number >= len(names)
        costs: dict[ChallengerName, float] = run_training_s(recipe)
        workers = shares(number, costs) if at_once else dict.fromkeys(names, number)
    return recipe.model_copy(update={"train": train.model_copy(update={"workers": workers, "at_once": at_once})})
