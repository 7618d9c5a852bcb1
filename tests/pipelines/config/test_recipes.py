"""Every recipe that comes with Salus loads, can be planned, and says what is the paper's and what is ours."""

from __future__ import annotations

from importlib import resources

import pytest

from pipelines.cluster.plan import make_plan
from pipelines.config.load import load_recipe, recipe_names

PAPER = {
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "meditron-8b": "OpenMeditron/Meditron3-8B",
    "mistral-7b": "mistralai/Mistral-7B-Instruct-v0.3",
}


def test_the_papers_models_are_there() -> None:
    assert set(PAPER) <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_loads_and_plans(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    plan = make_plan(recipe)
    assert plan.cpus > 0
    assert plan.memory_gib > 0
    assert plan.steps


@pytest.mark.parametrize(("name", "model"), PAPER.items())
def test_paper_recipes_follow_its_setting(name: str, model: str) -> None:
    recipe = load_recipe(name)
    assert recipe.model.path == model
    assert recipe.data.source == "cares"
    assert recipe.cycles == 5
    assert recipe.train.algorithms == {"kto": "kto", "dpo": "dpo"}
    assert recipe.judge.regimen == "EXT"
    assert recipe.generate.engine.device == "cuda"
    assert recipe.generate.engine.dtype == recipe.train.dtype == recipe.publish.dtype == "bfloat16"


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipes_say_what_is_not_the_papers(name: str) -> None:
    text = (resources.files("pipelines.config") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "2512.04210" in text
    assert "our choice, not the paper's" in text


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipes_fit_eight_gpus_of_48_gb(name: str) -> None:
    plan = make_plan(load_recipe(name))
    assert plan.gpus <= 8
    assert max(row.gpu_memory_gib for row in plan.rows) < 45
