"""What a recipe needs, and that what cannot fit is refused in one sentence before anything starts."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from actors.errors import SalusError
from pipelines.cluster.demand import PlanRow
from pipelines.cluster.devices import Resources
from pipelines.cluster.plan import Plan, available, check, make_plan, plan_table
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from tests.tiny_model import make_tiny_model

LAPTOP = Resources(where="this machine", cpus=None, gpus=0, memory_gib=16, node_gpus=0, gpu_memory_gib=None)
NODE = Resources(where="this machine", cpus=192, gpus=8, memory_gib=1000, node_gpus=8, gpu_memory_gib=45)
BIG = "llama-3.1-8b"


@pytest.fixture
def clinic(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\nmodel: {source: clinic}\ndata: {source: clinic}\njudge: {regimen: EXT, source: clinic}\n",
        encoding="utf-8",
    )
    return str(path)


def row(plan: Plan, actor: str) -> PlanRow:
    return next(r for r in plan.rows if r.actor.startswith(actor))


def refusal(plan: Plan, resources: Resources) -> str:
    with pytest.raises(SalusError) as caught:
        check(plan, resources)
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def test_totals_are_the_rows_sums(clinic: str) -> None:
    plan = make_plan(load_recipe(clinic))
    assert plan.cpus == pytest.approx(sum(r.count * r.cpus for r in plan.rows))
    assert plan.memory_gib == pytest.approx(sum(r.count * r.memory_gib for r in plan.rows), abs=0.06)
    assert plan.gpus == 0


def test_every_kind_of_actor_is_planned(clinic: str) -> None:
    actors = " ".join(r.actor for r in make_plan(load_recipe(clinic)).rows)
    for kind in (
        "coordinator",
        "generator",
        "judge",
        "KTO worker",
        "DPO worker",
        "controller",
        "Ray Data",
        "replica",
    ):
        assert kind in actors


def test_counts_and_cpus_come_from_the_recipe(clinic: str) -> None:
    overrides = [
        "generate.actors=3",
        "generate.cpus_per_actor=2",
        "train.workers_per_run=4",
        "train.challengers.kto=null",
    ]
    plan = make_plan(load_recipe(clinic, overrides))
    assert (row(plan, "generator").count, row(plan, "generator").cpus) == (3, 2)
    assert row(plan, "DPO worker").count == 4
    assert not [r for r in plan.rows if r.actor.startswith("KTO")]


def test_every_challenger_has_workers_of_its_own_and_those_of_one_kind_share_a_shuffle(clinic: str) -> None:
    two = make_plan(load_recipe(clinic))
    four = make_plan(
        load_recipe(
            clinic,
            [
                "train.challengers.kto-slow={algorithm: kto, epochs: 2}",
                "train.challengers.dpo-ipo={algorithm: dpo, loss_type: [ipo]}",
            ],
        )
    )
    assert [r.actor for r in four.rows if r.actor.endswith(" worker")] == [
        "KTO worker", "DPO worker", "KTO-SLOW worker", "DPO-IPO worker"
    ]  # fmt: skip
    # In the default, two workers of .5 CPUs each.
    assert four.cpus == two.cpus + 2 * 2 * 0.5
    assert four.memory_gib > two.memory_gib + 2
    assert row(four, "Ray Data").count == row(two, "Ray Data").count == 2
    assert any("KTO-SLOW about" in step and "DPO-IPO about" in step for step in four.steps)
    assert any(step.startswith("evaluate: 5 policies") for step in four.steps)


def test_one_cpu_is_left_for_ray_data(clinic: str) -> None:
    assert row(make_plan(load_recipe(clinic)), "Ray Data").cpus >= 1


def test_unpublished_run_has_no_replica(clinic: str) -> None:
    plan = make_plan(load_recipe(clinic, ["publish.enabled=false"]))
    assert not [r for r in plan.rows if "replica" in r.actor]


def test_a_guards_model_is_planned_and_its_rules_are_not(clinic: str, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "guard")
    plain = make_plan(load_recipe(clinic))
    overrides = ["publish.guard.kind=guard", f"publish.guard.model={tmp_path / 'guard'}", "publish.guard.cpus=2"]
    plan = make_plan(load_recipe(clinic, overrides))
    assert (row(plan, "guard").count, row(plan, "guard").cpus, plan.cpus) == (1, 2, plain.cpus + 2)
    assert row(plan, "policy replica") == row(plain, "policy replica")
    assert make_plan(load_recipe(clinic, ["publish.guard={kind: rules, harmful_phrases: [x]}"])).rows == plain.rows


def test_rules_judge_has_no_engine(clinic: str) -> None:
    with_engine = row(make_plan(load_recipe(clinic)), "judge")
    by_rules = row(make_plan(load_recipe(clinic, ["judge.regimen=RULES"])), "judge")
    assert by_rules.memory_gib < with_engine.memory_gib


def test_steps_count_prompts_rollouts_and_judgments(clinic: str) -> None:
    # Seven whole shards of 75.
    overrides = ["data.train_per_cycle=500", "generate.sampling.k=4", "data.validation=100", "cycles=7"]
    text = "\n".join(make_plan(load_recipe(clinic, overrides)).steps)
    assert "525 prompts x 4 = 2,100 rollouts" in text
    assert "2,100 judgments (EXT)" in text
    # Champion, KTO and DPO.
    assert "300 answers" in text
    assert "7 cycle(s)" in text


def test_8b_model_on_a_laptop_is_refused_naming_gpus() -> None:
    said = refusal(make_plan(load_recipe(BIG)), LAPTOP)
    assert f"Recipe {BIG} needs 8 GPUs, but this machine has 0, 8 too few" in said


def test_8b_model_fits_a_node_of_eight_gpus() -> None:
    check(make_plan(load_recipe(BIG)), NODE)


def test_gpus_of_too_little_memory_are_refused() -> None:
    said = refusal(make_plan(load_recipe(BIG)), NODE.model_copy(update={"gpu_memory_gib": 16.0}))
    assert "on each of its GPUs" in said
    assert "have 16" in said


def test_engine_wider_than_any_node_is_refused() -> None:
    plan = make_plan(load_recipe(BIG, ["generate.engine.tensor_parallel=4"]))
    said = refusal(plan, NODE.model_copy(update={"gpus": 32.0, "node_gpus": 2.0}))
    assert "generator" in said
    assert "4 GPUs of one node" in said


def test_too_few_cpus_of_a_cluster_are_refused_first(clinic: str) -> None:
    cluster = LAPTOP.model_copy(update={"where": "the cluster at auto", "shared": True, "cpus": 4.0})
    said = refusal(make_plan(load_recipe(clinic)), cluster)
    assert "CPUs, but the cluster at auto has 4" in said
    assert "cluster.logical_cpus" in said


def test_too_little_memory_is_refused(clinic: str) -> None:
    said = refusal(make_plan(load_recipe(clinic)), LAPTOP.model_copy(update={"memory_gib": 2.0}))
    assert "GiB of memory, but this machine has 2" in said


def test_every_stage_has_gpus_of_its_own() -> None:
    # Engines 3, training 4, serving 1.
    assert make_plan(load_recipe(BIG)).gpus == 8


def test_recipe_overrules_what_is_found(clinic: str) -> None:
    overrides = ["cluster.logical_cpus=3", "cluster.gpus=2", "cluster.memory_gib=5"]
    there = available(load_recipe(clinic, overrides))
    assert (there.cpus, there.gpus, there.node_gpus, there.memory_gib) == (3, 2, 2, 5)


def test_embedded_ray_shares_cores_by_default(clinic: str) -> None:
    there = available(load_recipe(clinic))
    assert there.cpus is None
    assert there.memory_gib > 0


def test_too_few_logical_cpus_are_refused(clinic: str) -> None:
    recipe = load_recipe(clinic, ["cluster.logical_cpus=2", "cluster.memory_gib=64"])
    assert "CPUs, but this machine has 2" in refusal(make_plan(recipe), available(recipe))


def test_hub_model_of_unknown_size_is_refused() -> None:
    recipe = load_recipe(BIG, ["model.parameters_b=null"])
    with pytest.raises(SalusError, match=r"model\.parameters_b"):
        make_plan(recipe)


def test_judge_of_unknown_size_is_refused() -> None:
    recipe = load_recipe(BIG, ["judge.parameters_b=null"])
    with pytest.raises(SalusError, match=r"models/cares-judge-3b.*judge\.parameters_b"):
        make_plan(recipe)


def test_self_judging_needs_no_second_model() -> None:
    plan = make_plan(load_recipe(BIG, ["judge.regimen=SELF", "judge.parameters_b=null"]))
    assert row(plan, "judge").gpu_memory_gib >= row(plan, "generator").gpu_memory_gib


def test_table_shows_every_actor_and_the_totals() -> None:
    plan = make_plan(load_recipe(BIG))
    out = StringIO()
    Console(file=out, width=100).print(plan_table(plan))
    text = out.getvalue()
    assert all(r.actor in text for r in plan.rows)
    assert "in total" in text


@given(
    generators=st.integers(1, 50),
    judges=st.integers(1, 50),
    workers=st.integers(1, 16),
    spare=st.integers(0, 3),
)
def test_fits_exactly_where_the_gpus_suffice(generators: int, judges: int, workers: int, spare: int) -> None:
    recipe = with_actors(load_recipe(BIG), generators, judges, workers)
    plan = make_plan(recipe)
    assert plan.gpus == generators + judges + 2 * workers + 1
    room = Resources(where="here", cpus=1e6, gpus=plan.gpus + spare, memory_gib=1e6, node_gpus=8, gpu_memory_gib=None)
    check(plan, room)
    with pytest.raises(SalusError, match="GPUs"):
        check(plan, room.model_copy(update={"gpus": plan.gpus - 1}))


def with_actors(recipe: Recipe, generators: int, judges: int, workers: int) -> Recipe:
    return recipe.model_copy(
        update={
            "generate": recipe.generate.model_copy(update={"actors": generators}),
            "judge": recipe.judge.model_copy(update={"actors": judges}),
            "train": recipe.train.model_copy(update={"workers_per_run": workers}),
        }
    )


def test_attackers_are_planned_and_their_attempts_are_steps(clinic: str) -> None:
    team = "red_team={prompts: 10, attempts: 3, actors: 2, cpus_per_actor: 0.5, max_tokens: 5000}"
    plan = make_plan(load_recipe("demo", [team]))
    attacker = next(row for row in plan.rows if row.actor == "attacker")
    assert (attacker.count, attacker.cpus, attacker.section) == (2, 0.5, "red_team") and attacker.memory_gib > 0
    assert any("10 harmful prompts x 3 rewrites on 2 attacker(s), at most 5,000 tokens" in step for step in plan.steps)
    with pytest.raises(SalusError, match=r"red_team goes with cluster.placement apart"):
        load_recipe("demo", [team, "cluster.placement=by_turns", "train.resident=false", "train.at_once=false"])
    with pytest.raises(SalusError, match=r"rewrite_tokens leaves no room"):
        load_recipe("demo", ["red_team={rewrite_tokens: 4096}"])
