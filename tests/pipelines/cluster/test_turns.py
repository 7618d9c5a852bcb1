"""Placement by turns: what each stage holds, how GPUs are divided, and what that comes to in hours. No GPU is used."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import SalusError
from pipelines.alignment.steps import JUDGES, MEASURES, SAMPLES, TRAINS
from pipelines.cluster.demand import ENGINE_GPU_GIB
from pipelines.cluster.devices import Resources
from pipelines.cluster.plan import Plan, check, make_plan, staged_plan, step_plan
from pipelines.cluster.times import StageTime, Work
from pipelines.cluster.turns.cost import GpuUse, measured, passes, run_training_s, uses_gpus
from pipelines.cluster.turns.division import alone, divided, judged_beside, shares, slept
from pipelines.cluster.turns.hours import cost_lines, estimated
from pipelines.cluster.turns.stages import served_last, step_stages
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe

BY_TURNS = "cluster.placement=by_turns"
SLEEP = "cluster.between_turns=sleep"


def machine(gpus: int, gpu_memory_gib: float, memory_gib: float = 200.0) -> Resources:
    return Resources(
        where="this machine", cpus=64, gpus=gpus, node_gpus=gpus, memory_gib=memory_gib, gpu_memory_gib=gpu_memory_gib
    )


def on(name: str, gpus: int, *overrides: str) -> Recipe:
    return divided(load_recipe(name, [BY_TURNS, *overrides]), gpus)


def most_gpus(plan: Plan) -> dict[str, float]:
    return {stage.name: stage.total("gpus") for stage in plan.stages}


def use(recipe: Recipe) -> GpuUse:
    found = estimated(recipe, make_plan(recipe).gpus)
    assert found is not None
    return found


def test_apart_is_one_stage_that_holds_everything() -> None:
    plan = make_plan(load_recipe("llama-3.1-8b"))
    assert plan.gpus == 8 and plan.stages == ()


def test_by_turns_each_stage_has_all_gpus_and_the_plan_is_the_largest_stage() -> None:
    recipe = on("llama-3.1-8b", 8)
    assert (recipe.generate.actors, recipe.judge.actors, recipe.train.workers) == (5, 3, {"kto": 5, "dpo": 3})
    plan = make_plan(recipe)
    assert most_gpus(plan) == {"generate and judge": 8, "shuffle": 0, "train": 8, "evaluate": 8, "publish": 1}
    assert plan.gpus == 8
    assert plan.memory_gib == pytest.approx(max(stage.total("memory_gib") for stage in plan.stages), abs=0.06)
    check(plan, machine(8, 80))


def test_eight_gpus_are_busy_a_third_of_the_time_apart_and_four_fifths_of_it_by_turns() -> None:
    apart = load_recipe("llama-3.1-8b")
    assert use(apart).busy_share == pytest.approx(0.34, abs=0.03)
    closed, asleep = use(on("llama-3.1-8b", 8)), use(on("llama-3.1-8b", 8, SLEEP))
    assert asleep.busy_share >= 0.8
    assert 0.7 <= closed.busy_share < asleep.busy_share
    assert asleep.hours < use(apart).hours / 2
    # The work is the same.
    assert asleep.busy_gpu_hours == pytest.approx(use(apart).busy_gpu_hours)


@pytest.mark.parametrize("gpu_memory_gib", [80.0, 24.0])
def test_a_3b_policy_is_planned_on_one_gpu_where_each_stage_has_it_alone(gpu_memory_gib: float) -> None:
    recipe = on("llama-3.2-3b", 1)
    plan = make_plan(recipe)
    assert not judged_beside(recipe) and not recipe.train.at_once
    assert list(most_gpus(plan)) == [
        "generate and judge: sample", "generate and judge: judge", "shuffle", "train KTO", "train DPO",
        "evaluate: sample", "evaluate: judge", "publish",
    ]  # fmt: skip
    assert set(most_gpus(plan).values()) == {0.0, 1.0}
    check(plan, machine(1, gpu_memory_gib, memory_gib=64))
    assert any("one after the other, 1 worker(s) each" in step for step in plan.steps)
    assert any("after generating, on the same GPUs" in step for step in plan.steps)
    # The rows of an optimizer step are those of the recipe: 64.
    assert any("KTO about 184 steps of 64" in step for step in plan.steps)
    assert use(recipe).busy_share > 0.8


def test_no_gpu_at_all_is_a_sentence() -> None:
    with pytest.raises(SalusError, match="needs 1 GPUs, but this machine has 0"):
        check(make_plan(on("llama-3.2-3b", 0)), machine(0, 0))


def test_a_recipe_on_cpus_keeps_its_numbers_and_needs_its_largest_stage() -> None:
    apart, turns = load_recipe("demo"), divided(load_recipe("demo", [BY_TURNS]), 0)
    assert not uses_gpus(turns) and not turns.train.resident and turns.train.at_once
    assert turns.generate == apart.generate and turns.judge == apart.judge
    assert turns.train.of("kto") == apart.train.of("kto").model_copy(update={"resident": False})
    assert make_plan(turns).cpus < make_plan(apart).cpus
    assert make_plan(turns).memory_gib < make_plan(apart).memory_gib
    assert estimated(turns, 0) is None and cost_lines(turns, 0) == ()
    # Its endpoint takes nobody's GPU, so that it serves from the first decision on.
    assert not served_last(turns)
    assert all("replica" in " ".join(row.actor for row in stage.rows) for stage in make_plan(turns).stages)


def test_engines_sleep_where_each_gpu_holds_one_of_its_own() -> None:
    assert slept(on("llama-3.1-8b", 8, SLEEP))
    assert not slept(on("llama-3.1-8b", 8))
    assert not slept(load_recipe("llama-3.1-8b", [SLEEP]))
    # One GPU has two engines in turn, and an engine over two GPUs shares none.
    assert not slept(on("llama-3.2-3b", 1, SLEEP))
    assert not slept(on("llama-3.1-8b", 8, SLEEP, "generate.engine.tensor_parallel=2"))
    assert not slept(divided(load_recipe("demo", [BY_TURNS, SLEEP]), 0))


def test_a_trainer_has_less_room_beside_an_engine_that_sleeps() -> None:
    closed, asleep = (make_plan(on("llama-3.1-8b", 8, *sleep)) for sleep in ((), (SLEEP,)))
    most = [max(row.gpu_memory_gib for row in plan.at_once[2]) for plan in (closed, asleep)]
    assert most[1] == pytest.approx(most[0] + ENGINE_GPU_GIB)
    # Engines that sleep keep their processes, with the CPUs that Ray counts for them.
    assert asleep.stages[2].total("cpus") == closed.stages[2].total("cpus") + 8
    assert asleep.memory_gib == pytest.approx(closed.memory_gib + 8 * 3.2, abs=0.1)
    assert asleep.gpus == closed.gpus == 8
    # A step by itself has no engine to sleep beside it.
    step = alone(on("llama-3.1-8b", 8, SLEEP))
    assert not slept(step) and staged_plan(step, step_stages(step, TRAINS)).cpus == 32


@given(number=st.integers(1, 7), costs=st.lists(st.floats(0.01, 100), min_size=1, max_size=3))
def test_shares_are_the_best_there_are(number: int, costs: list[float]) -> None:
    named = {str(place): cost for place, cost in enumerate(costs)}
    given_ = shares(max(number, len(costs)), named)
    most = max(number, len(costs))
    assert sum(given_.values()) == most and min(given_.values()) >= 1
    best = min(
        max(cost / n for cost, n in zip(costs, ns, strict=True))
        for ns in itertools.product(range(1, most + 1), repeat=len(costs))
        if sum(ns) == most
    )
    assert max(named[name] / n for name, n in given_.items()) == pytest.approx(best)


@given(gpus=st.integers(0, 24), tp=st.sampled_from([1, 2, 4]))
def test_a_division_holds_no_more_than_there_is_and_stays_as_it_is(gpus: int, tp: int) -> None:
    recipe = on("llama-3.1-8b", gpus, f"generate.engine.tensor_parallel={tp}")
    assert divided(recipe, gpus) == recipe
    assert make_plan(recipe).gpus <= max(gpus, tp)


def test_a_loss_without_reference_or_kl_costs_less() -> None:
    others = "train.challengers={dpo: {}, slic: {}, ipo: {}, kto: {loss_type: apo_zero_unpaired}}"
    recipe = load_recipe("llama-3.1-8b", [others])
    assert {name: passes(recipe, name) for name in ("dpo", "ipo", "slic", "kto")} == {
        "dpo": 8, "ipo": 8, "slic": 6, "kto": 4
    }  # fmt: skip


def test_workers_that_are_named_are_kept_on_other_gpus() -> None:
    eight = on("llama-3.1-8b", 8)
    four = divided(eight, 4)
    assert four.train.workers == eight.train.workers and not four.train.at_once
    assert make_plan(four).gpus == 5


def test_kto_costs_two_and_a_half_times_dpo() -> None:
    recipe = load_recipe("llama-3.1-8b")
    assert (passes(recipe, "kto"), passes(recipe, "dpo")) == (6, 8)
    costs = run_training_s(recipe)
    assert costs["kto"] / costs["dpo"] == pytest.approx(2.5)
    capped = run_training_s(load_recipe("llama-3.1-8b", ["preference.replay_cycles=1"]))
    # 1 + 2 + 2 + 2 + 2 cycles of rows, where all earlier ones are 1 + 2 + 3 + 4 + 5.
    assert capped["kto"] / costs["kto"] == pytest.approx(9 / 15)


def test_money_is_told_where_there_is_a_price() -> None:
    recipe = on("llama-3.1-8b", 8, "cluster.gpu_hour_price=2.5")
    found = use(recipe)
    assert found.money == pytest.approx(found.gpu_hours * 2.5, abs=0.01)
    first, second = cost_lines(recipe, 8)
    assert "on 8 GPU(s)" in first and "busy" in first and "at a price of 2" in first
    assert "cluster.assumed changes them" in second
    assert "price" not in cost_lines(on("llama-3.1-8b", 8), 8)[0]


def test_measured_use_counts_each_workers_gpus() -> None:
    recipe = on("llama-3.1-8b", 8, "cluster.gpu_hour_price=2")
    hour = 3600.0
    stage = StageTime(
        stage="all",
        wall_s=hour,
        busy_s=hour,
        work=(
            Work(kind="generator", worker="0", start_s=0, end_s=hour),
            Work(kind="judge", worker="2", start_s=0, end_s=hour / 2),
            Work(kind="trainer", worker="kto", start_s=0, end_s=hour / 2),
            Work(kind="trainer", worker="dpo", start_s=0, end_s=hour / 2),
        ),
    )
    found = measured(recipe, 8, 2 * hour, [stage])
    assert found is not None
    assert (found.hours, found.gpu_hours, found.busy_gpu_hours, found.money) == (2, 16, 1 + 0.5 + 2.5 + 1.5, 32)
    assert measured(load_recipe("demo"), 0, hour, [stage]) is None


def test_a_step_by_itself_needs_what_it_starts() -> None:
    recipe = load_recipe("llama-3.1-8b")
    steps = (SAMPLES, JUDGES, TRAINS, MEASURES)
    assert [staged_plan(recipe, step_stages(recipe, starts)).gpus for starts in steps] == [2, 1, 4, 3]


def test_a_judge_by_itself_or_an_endpoint_does_not_ask_for_the_whole_recipe() -> None:
    recipe = load_recipe("llama-3.1-8b")
    assert [step_plan(recipe, part).gpus for part in ("judge", "publish", "generate")] == [1, 1, 2]
    check(step_plan(recipe, "judge"), machine(1, 24))
    # What only the policy tells is not asked of who starts none.
    unknown = recipe.model_copy(update={"model": recipe.model.model_copy(update={"parameters_b": None})})
    assert step_plan(unknown, "judge").gpus == 1
    with pytest.raises(SalusError, match="size of meta-llama"):
        step_plan(unknown, "generate")


def test_workers_of_one_challenger_keep_the_rows_of_a_step() -> None:
    train = load_recipe("llama-3.1-8b", ["train.workers={kto: 5, dpo: 3}"]).train
    kto, dpo = train.of("kto"), train.of("dpo")
    assert (kto.workers_per_run, kto.challengers["kto"].gradient_accumulation) == (5, 6)
    assert (dpo.workers_per_run, dpo.challengers["dpo"].gradient_accumulation) == (3, 11)
    assert train.of("kto").of("kto") == kto


def test_settings_that_do_not_fit_are_sentences() -> None:
    with pytest.raises(SalusError, match="set resident to false as well"):
        load_recipe("demo", ["train.at_once=false"])
    with pytest.raises(SalusError, match="orpo, which is no challenger"):
        load_recipe("demo", ["train.workers={orpo: 2}"])
