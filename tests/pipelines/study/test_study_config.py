"""Studies from YAML, and the recipes their cells come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.config.load import load_recipe, recipe_names, save_recipe, study_names
from pipelines.runs.materials import judge_clinic
from pipelines.study.config import StudyConfig, load_study
from tests.pipelines.study.cells import cells, study

SMALL = """\
name: small
set: [train.challengers.kto.beta=0.2, train.challengers.dpo.beta=0.2]
models:
  - {name: wide, set: [train.challengers.dpo.beta=0.3, cycles=9]}
  - {name: cares, recipe: mistral-7b}
regimens:
  - {name: SELF, set: [judge.accept_unreliable=true]}
cluster: {wait_s: 7}
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def sentence(name: str, *overrides: str) -> str:
    with pytest.raises(SalusError) as caught:
        load_study(name, overrides)
    return caught.value.sentence


def test_studies_are_no_recipes() -> None:
    assert {"study", "study-cares", "study-sft"} == set(study_names())
    assert not set(study_names()) & set(recipe_names())
    with pytest.raises(SalusError, match="start it with: salus study study"):
        load_recipe("study")
    assert "Start it with: salus align demo" in sentence("demo")


@pytest.mark.parametrize("name", study_names())
def test_the_studies_that_come_with_salus_make_recipes(name: str, tmp_path: Path) -> None:
    config = load_study(name)
    made = cells(config, tmp_path)
    assert config.name == name
    assert len({cell.name for cell in made}) == len(config.models) * len(config.regimens)


@pytest.mark.parametrize("name", ["study", "study-cares"])
def test_the_papers_study_has_its_cycles_and_validators(name: str) -> None:
    config = load_study(name)
    assert config.cycles == 5 and [regimen.name for regimen in config.regimens] == ["SELF", "EXT", "LMA"]


def test_fine_tuning_is_compared_with_the_same_run_without_it(tmp_path: Path) -> None:
    aligned, demonstrated = cells(load_study("study-sft"), tmp_path)
    assert aligned.recipe.sft is None and demonstrated.recipe.sft is not None
    assert aligned.recipe.harmfulness is not None
    same = {"name": "", "sft": None}
    assert aligned.recipe.model_copy(update=same) == demonstrated.recipe.model_copy(update=same)


def test_a_cell_is_a_run_with_the_changes_of_study_model_and_regimen(small: str, tmp_path: Path) -> None:
    config = load_study(small, ["seed=11", "cycles=2"])
    wide, cares = cells(config, tmp_path)
    assert (wide.name, cares.name) == ("wide-SELF", "cares-SELF")
    assert [of.model_dump()["beta"] for of in wide.recipe.train.challengers.values()] == [0.2, 0.3]
    # What the study says of every cell no model changes.
    assert (wide.recipe.seed, wide.recipe.cycles, wide.recipe.name) == (11, 2, "small-wide-self")
    assert wide.recipe.judge.regimen == "SELF" and wide.recipe.judge.accept_unreliable
    assert not wide.recipe.publish.enabled
    assert wide.recipe.cluster.wait_s == 7
    assert cares.recipe.data.source == "cares"
    assert wide.run.root == tmp_path / "cells" / "wide-SELF"


def test_a_saved_study_loads_as_the_same(small: str, tmp_path: Path) -> None:
    config = load_study(small)
    save_recipe(config, tmp_path / "saved.yaml")
    assert load_study(str(tmp_path / "saved.yaml")) == config


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("side_by_sid=3", "unknown key 'side_by_sid', did you mean 'side_by_side'"),
        ("cluster.adress=auto", "unknown key 'cluster.adress', did you mean 'address'"),
        ("models=[{name: wide, sett: []}]", "unknown key 'models.0.sett', did you mean 'set'; it may hold name"),
        ("models=[]", "models"),
        ("models=[{name: a}, {name: a}]", "models names a twice"),
        ("regimens=[{name: EXT}, {name: EXT}]", "regimens names EXT twice"),
        ("regimens=[{name: GPT}]", "'SELF', 'LMA', 'EXT'"),
        ("models=[{name: ../a}]", "models.0.name"),
        ("set=[no equals sign]", "set.0"),
        ("cycles=0", "cycles"),
    ],
)
def test_a_bad_setting_is_one_sentence(small: str, override: str, says: str) -> None:
    said = sentence(small, override)
    assert says in said
    assert "\n" not in said and said.endswith(".")


def test_an_unknown_study_names_the_nearest() -> None:
    assert "did you mean 'study-cares'" in sentence("study-care")


def test_a_cell_that_makes_no_recipe_is_named(tmp_path: Path) -> None:
    config = StudyConfig.model_validate(
        {
            "name": "s",
            "models": [{"name": "wide", "set": ["train.challengers.kto.betta=1"]}],
            "regimens": [{"name": "EXT"}],
        }
    )
    with pytest.raises(
        SalusError, match=r"Cell wide-EXT of study s: .*'train\.challengers\.kto\.betta', did you mean 'beta'"
    ):
        cells(config, tmp_path)


@pytest.mark.parametrize("kind", ["EXT", "LMA"])
def test_policies_of_other_shapes_share_one_judge(kind: str) -> None:
    regimen = f"judge.regimen={kind}"
    shaped = load_recipe("demo", [regimen, "clinic.policy.hidden=192", "clinic.policy.heads=6"])
    shorter = load_recipe("demo", [regimen, "clinic.judge_pretraining.steps=5", "clinic.lma_pretraining.steps=5"])
    plain = load_recipe("demo", [regimen])
    assert kind in ("EXT", "LMA")
    of = [judge_clinic(recipe, "EXT" if kind == "EXT" else "LMA") for recipe in (plain, shaped, shorter)]
    assert of[0] == of[1] != of[2]
    # It reads the requests that it will judge.
    harder = load_recipe("demo", [regimen, "clinic.untrained_acts=0.5"])
    assert judge_clinic(harder, "EXT" if kind == "EXT" else "LMA").untrained_acts == 0.5


def test_a_study_helper_gives_every_pair(tmp_path: Path) -> None:
    made = cells(study("SELF", "EXT"), tmp_path)
    assert [cell.name for cell in made] == ["wide-SELF", "deep-SELF", "wide-EXT", "deep-EXT"]
