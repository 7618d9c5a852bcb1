"""Which judges a recipe asks for: settings that fit, what they need, what they are called, who is made for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.judges.regimens import scorers
from actors.judges.remote.scorer import RemoteScorer
from actors.judges.rules import RuleScorer
from pipelines.alignment.run import fixed_judge
from pipelines.cluster.demand import demand
from pipelines.cluster.plan import make_plan
from pipelines.config.load import load_recipe, save_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import Materials

BIG = "llama-3.1-8b"
SERVER = ["judge.remote.base_url=http://127.0.0.1:1/v1", "judge.remote.model=org/judge 70b"]
REMOTE = ["judge.regimen=REMOTE", "judge.path=null", "judge.parameters_b=null", *SERVER]
SHARED = ["judge.actors=4", "judge.remote.requests_per_minute=60"]
GUARD = ["judge.regimen=GUARD", "judge.prompt=guard-v1"]
POLICY = PolicyRef(version="c0-base", path="policy")
MODEL = PolicyRef(version="ext-judge", path="judge")


def judge_row(recipe: Recipe) -> tuple[float, float, float]:
    row = next(r for r in demand(recipe) if r.actor == "judge")
    return row.gpus, row.gpu_memory_gib, row.memory_gib


def test_a_remote_judge_needs_no_model_and_no_gpu() -> None:
    recipe = load_recipe(BIG, REMOTE)
    assert judge_row(recipe)[:2] == (0, 0)
    assert 0 < judge_row(recipe)[2] < 1
    assert make_plan(recipe).gpus == make_plan(load_recipe(BIG)).gpus - 1
    assert "(REMOTE)" in "\n".join(make_plan(recipe).steps)


def test_a_guard_is_planned_like_any_model() -> None:
    assert judge_row(load_recipe(BIG, GUARD)) == judge_row(load_recipe(BIG))


def test_judges_beside_another_need_no_more_than_it() -> None:
    recipe = load_recipe(BIG, ["judge.ensemble.also=[RULES, REMOTE]", "judge.ensemble.how=vote", *SERVER])
    assert judge_row(recipe) == judge_row(load_recipe(BIG))
    assert "(EXT+RULES+REMOTE)" in "\n".join(make_plan(recipe).steps)


def test_the_judges_name_is_that_of_all_who_are_asked_and_safe_as_a_folder() -> None:
    alone, with_judge = Materials(policy=POLICY, judge=None), Materials(policy=POLICY, judge=MODEL)
    assert fixed_judge(load_recipe(BIG), with_judge) == "ext-judge"
    assert fixed_judge(load_recipe(BIG, REMOTE), alone) == "remote-org-judge-70b"
    also = ["judge.ensemble.also=[RULES]"]
    assert fixed_judge(load_recipe(BIG, also), with_judge) == "ext-judge+refusal-rules"
    assert fixed_judge(load_recipe(BIG, [*REMOTE, *also]), alone) == "remote-org-judge-70b+refusal-rules"
    # The champion's name changes from cycle to cycle.
    assert fixed_judge(load_recipe(BIG, ["judge.regimen=SELF", *also]), alone) is None


def test_scorers_without_an_engine_are_made_for_each_voice() -> None:
    config = load_recipe(
        BIG, [*REMOTE, "judge.actors=4", "judge.remote.requests_per_minute=60", "judge.ensemble.also=[RULES]"]
    )
    remote, rules = scorers(config.judge, None)
    assert isinstance(rules, RuleScorer) and isinstance(remote, RemoteScorer)
    # Four actors share the limit.
    assert remote._config.requests_per_minute == 15
    assert remote.prompt_version == "cares-v2"


def test_a_remote_judge_beside_a_guard_is_asked_for_a_label() -> None:
    config = load_recipe(BIG, [*GUARD, "judge.ensemble.also=[REMOTE]", *SERVER]).judge
    assert config.prompt_of("REMOTE") == "cares-v2" and config.prompt_version == "guard-v1+cares-v2"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["judge.regimen=REMOTE"], "regimen REMOTE needs remote: base_url and model"),
        (["judge.ensemble.also=[REMOTE]"], "regimen REMOTE needs remote"),
        (
            ["judge.regimen=GUARD"],
            "regimen GUARD needs prompt: guard-own (models like Llama Guard) or guard-v1, as cares-v2 does not ask",
        ),
        (["judge.prompt=guard-v1"], "guard-v1 asks for safe or unsafe"),
        ([*GUARD, "judge.ensemble={also: [RULES], prompt: guard-v1}"], "guard-v1 asks for safe or unsafe"),
        ([*GUARD, "judge.path=null"], "regimen GUARD needs path"),
        ([*GUARD, "judge.source=clinic"], "regimen GUARD needs source folder or hub"),
        (["judge.regimen=RULES", "judge.ensemble.also=[RULES]"], "hold one twice"),
        (["judge.ensemble.also=[]"], "judge.ensemble.also"),
        (["judge.ensemble.also=[EXT]"], "judge.ensemble.also.0"),
        ([*REMOTE, "judge.remote.base_url=ftp://x"], "judge.remote.base_url"),
        ([*REMOTE, "judge.remote.base_url=https://me:secret@x/v1"], "judge.remote.base_url"),
        ([*REMOTE, "judge.remote.api_key_env=not a name"], "judge.remote.api_key_env"),
        ([*REMOTE, "judge.remote.api_key=sk-1"], "unknown key 'judge.remote.api_key', did you mean 'api_key_env'"),
    ],
)
def test_what_does_not_fit_is_said(overrides: list[str], sentence: str) -> None:
    with pytest.raises(SalusError) as caught:
        load_recipe(BIG, overrides)
    assert sentence in caught.value.sentence


def test_a_recipe_with_every_kind_comes_back_from_its_file(tmp_path: Path) -> None:
    recipe = load_recipe(BIG, [*REMOTE, "judge.ensemble={also: [RULES], how: vote}"])
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe
