"""The plan's estimate of a run's hours, stage by stage, from the recipe and `cluster.assumed`. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from actors.contract.records import Record
from pipelines.cluster.turns.cost import (
    EngineWork,
    GpuUse,
    endpoint_gpus,
    evaluation_work,
    generator_gpus,
    judge_gpus,
    red_team_work,
    rollout_work,
    training_s,
    uses_gpus,
)
from pipelines.cluster.turns.division import judged_beside, slept
from pipelines.config.recipe import Recipe


class StageEstimate(Record):
    """One stage of a cycle: how long it takes, and how many GPU-seconds work is done in it."""

    stage: str
    wall_s: float
    busy_gpu_s: float = 0.0


def cost_lines(recipe: Recipe, gpus: float) -> tuple[str, ...]:
    """What `salus plan` says of a run's hours and money, and what that rests on; nothing of a run on CPUs."""
    use = estimated(recipe, gpus)
    if use is None:
        return ()
    assumed = recipe.cluster.assumed
    return (
        f"estimated: {use.sentence()}",
        f"assumed: {assumed.answer_tokens:g} tokens an answer, {assumed.sampled_tokens_s:,.0f} tokens/s a GPU of an 8B"
        f" model, {assumed.tflops:g} TFLOP/s (one H100, by estimate; cluster.assumed changes them)",
    )


def estimated(recipe: Recipe, gpus: float) -> GpuUse | None:
    """What the run takes on the GPUs that it holds; None where nothing of it is on a GPU.

    Args:
        recipe: divided, where it is by turns.
        gpus: that it holds from start to end.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    if not uses_gpus(recipe) or not gpus:
        return None
    stages = list(estimated_stages(recipe))
    wall, busy = sum(stage.wall_s for stage in stages), sum(stage.busy_gpu_s for stage in stages)
    return GpuUse.of(gpus, wall, busy, recipe.cluster.gpu_hour_price)


def estimated_stages(recipe: Recipe) -> Iterator[StageEstimate]:
    """The stages of all cycles, and the final test of deployed model and last champion."""
    assumed, turns = recipe.cluster.assumed, recipe.cluster.placement == "by_turns"
    challengers = len(recipe.contestants)
    yield StageEstimate(stage="start", wall_s=_up(recipe, first=True))
    for cycle in range(1, recipe.cycles + 1):
        yield _answered(recipe, "generate and judge", rollout_work(recipe))
        if recipe.red_team is not None:
            yield _answered(recipe, "red team", red_team_work(recipe))
        yield StageEstimate(stage="shuffle", wall_s=assumed.shuffle_s)
        yield _trained(recipe, cycle)
        if turns:
            yield StageEstimate(stage="engines again", wall_s=_up(recipe))
        # The champion was measured as a challenger, but for the first one.
        policies = challengers + int(cycle == 1)
        yield _answered(recipe, "evaluate", evaluation_work(recipe, policies))
        yield StageEstimate(stage="decide", wall_s=assumed.decide_s)
    yield _answered(recipe, "final test", evaluation_work(recipe, 2))
    if turns and endpoint_gpus(recipe):
        yield StageEstimate(stage="publish", wall_s=assumed.open_engine_s)


def _up(recipe: Recipe, first: bool = False) -> float:
    """Seconds until both pools are up."""
    assumed = recipe.cluster.assumed
    return assumed.wake_engine_s if slept(recipe) and not first else assumed.open_engine_s


def _answered(recipe: Recipe, stage: str, work: EngineWork) -> StageEstimate:
    """Answers sampled and judged: at once, or first all sampled and then, by other engines, all judged."""
    generate_s, judge_s = work.generate_s / recipe.generate.actors, work.judge_s / recipe.judge.actors
    busy = work.generate_s * generator_gpus(recipe) + work.judge_s * judge_gpus(recipe)
    if judged_beside(recipe):
        return StageEstimate(stage=stage, wall_s=max(generate_s, judge_s), busy_gpu_s=busy)
    # Judges start where generators were, and generators where judges were, once a stage each.
    return StageEstimate(stage=stage, wall_s=generate_s + judge_s + _up(recipe), busy_gpu_s=busy)


def _trained(recipe: Recipe, cycle: int) -> StageEstimate:
    train, assumed = recipe.train, recipe.cluster.assumed
    alone = {name: training_s(recipe, name, cycle) for name in train.challengers}
    workers = {name: train.of(name).workers_per_run for name in alone}
    # A share of a GPU trains as much slower.
    each = [alone[name] / (workers[name] * min(1.0, train.gpus_per_worker or 1.0)) for name in alone]
    start = 0.0 if train.resident else assumed.start_training_s
    wall = max(each) + start if train.at_once else sum(each) + start * len(each)
    return StageEstimate(stage="train", wall_s=wall, busy_gpu_s=sum(alone.values()) if train.gpus_per_worker else 0.0)
