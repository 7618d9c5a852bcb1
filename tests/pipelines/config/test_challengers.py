"""The challengers of a recipe: by name, as earlier versions wrote them, and what is refused with its cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.errors import SalusError
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.algorithms.table import ALGORITHMS, marks
from actors.training.config import TrainConfig
from pipelines.config.load import load_recipe, load_run_recipe, save_recipe
from pipelines.config.recipe import Recipe

REST: dict[str, Any] = {
    "name": "small",
    "model": {"source": "clinic"},
    "data": {"source": "clinic"},
    "judge": {"regimen": "EXT", "source": "clinic"},
}


def recipe(tmp_path: Path, train: dict[str, Any], *overrides: str) -> Recipe:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({**REST, "train": train}, sort_keys=False), encoding="utf-8")
    return load_recipe(str(path), overrides)


def refused(tmp_path: Path, train: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(SalusError) as caught:
        recipe(tmp_path, train, *overrides)
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def named(*names: str) -> dict[str, Any]:
    return {"challengers": {name: {"algorithm": "dpo"} for name in names}}


def test_kto_and_dpo_compete_where_a_recipe_names_none(tmp_path: Path) -> None:
    train = recipe(tmp_path, {}).train
    assert train == TrainConfig() and train.algorithms == {"kto": "kto", "dpo": "dpo"}
    assert train.challengers == {"kto": KtoConfig(), "dpo": DpoConfig()}


def test_a_recipe_names_its_challengers_and_those_of_one_kind_share_rows(tmp_path: Path) -> None:
    given = {"kto": {}, "dpo": {"algorithm": "dpo"}, "dpo-ipo": {"algorithm": "dpo", "loss_type": ["ipo"]}}
    train = recipe(tmp_path, {"challengers": given}).train
    assert train.algorithms == {"kto": "kto", "dpo": "dpo", "dpo-ipo": "dpo"}
    assert train.challengers["dpo-ipo"] == DpoConfig(loss_type=("ipo",), loss_weights=(1.0,))
    assert train.row_kinds == ("unpaired", "pairs")


def test_a_recipe_is_written_as_it_is_read(tmp_path: Path) -> None:
    made = recipe(tmp_path, {"challengers": {"kto": {"beta": 0.3}, "dpo-ipo": {"algorithm": "dpo", "epochs": 2}}})
    save_recipe(made, tmp_path / "saved.yaml")
    assert load_run_recipe(tmp_path / "saved.yaml") == made


def test_settings_of_earlier_versions_are_read(tmp_path: Path) -> None:
    both = recipe(tmp_path, {"kto": {"beta": 0.2}, "dpo": {"epochs": 3}}).train
    assert both.challengers == {"kto": KtoConfig(beta=0.2), "dpo": DpoConfig(epochs=3)}
    # A resolved recipe held the settings of an algorithm that it did not train with.
    one = recipe(tmp_path, {"algorithms": ["dpo"], "kto": {"beta": 0.2}, "dpo": {"beta": 0.3}}).train
    assert one.challengers == {"dpo": DpoConfig(beta=0.3)}
    assert recipe(tmp_path, {}, "train.kto.beta=0.2").train.challengers["kto"] == KtoConfig(beta=0.2)


def test_one_changed_setting_leaves_all_others_as_they_are(tmp_path: Path) -> None:
    change = "train.challengers.kto.beta=0.5"
    assert recipe(tmp_path, {}, change).train.challengers == {"kto": KtoConfig(beta=0.5), "dpo": DpoConfig()}
    former = recipe(tmp_path, {"algorithms": ["kto", "dpo"], "kto": {"epochs": 2}}, change).train
    assert former.challengers == {"kto": KtoConfig(beta=0.5, epochs=2), "dpo": DpoConfig()}
    assert recipe(tmp_path, {}, "train.challengers.kto=null").train.algorithms == {"dpo": "dpo"}
    added = recipe(tmp_path, {}, "train.challengers.dpo-long={algorithm: dpo, epochs: 3}").train
    assert list(added.challengers) == ["kto", "dpo", "dpo-long"]


@pytest.mark.parametrize(
    ("train", "says"),
    [
        (
            {"challengers": {"kto": {}}, "kto": {"beta": 1}},
            "'kto' was replaced by 'challengers.kto', which this recipe",
        ),
        ({"challengers": {"kto": {}}, "algorithms": ["kto"]}, "'algorithms' was replaced by 'challengers'"),
        ({"algorithms": ["kto", "orpo"]}, "'algorithms' may list kto and dpo"),
        ({"algorithms": ["kto", "kto"]}, "twice"),
        ({"challengers": {"mine": {}}}, "challengers.mine.algorithm must be one of kto, dpo, "),
        ({"challengers": {"mine": {"algorithm": "ppo"}}}, "not 'ppo'"),
        ({"challengers": {"mine": {"algorithm": ["dpo"]}}}, "not ['dpo']"),
        ({"challengers": {"kto": {"algorithm": "dpo"}}}, "call it dpo-kto"),
        ({"challengers": {"dpo": {"betta": 1}}}, "unknown key 'train.challengers.dpo.betta', did you mean 'beta'"),
        ({"challengers": {"dpo": {"beta": -1}}}, "train.challengers.dpo.beta: must be greater than 0"),
        ({"challengers": {"kto": {"batch_size": 1}}}, "train.challengers.kto: kto.batch_size must be at least 2"),
        ({"challengers": {}}, "train.challengers"),
        ({"challengers": {"kto": None}}, "at least 1"),
        ({"challengers": "kto"}, "train.challengers"),
        ({"challengers": {"kto": "fast"}}, "train.challengers.kto"),
        (named("a", "b", "c", "d", "e"), "at most 4"),
        (named("x" * 33), "at most 32"),
        *((named(name), f"no challenger can be called {name}") for name in ("champion", "base", "rows", "rollouts")),
        *(
            (named(name), f"challenger {name!r} needs another name: small letters")
            for name in ("../up", "a/b", "A", "a.b", "a_b", "-a", "a-", "", "a b", "a\n", "ä")
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_with_its_cure(tmp_path: Path, train: dict[str, Any], says: str) -> None:
    assert says in refused(tmp_path, train)


def test_more_than_two_challengers_pay_for_every_look(tmp_path: Path) -> None:
    assert "set it to holm" in refused(tmp_path, named("a", "b", "c"), "decide.correction=none")
    assert recipe(tmp_path, named("a", "b"), "decide.correction=none").decide.correction == "none"
    assert recipe(tmp_path, named("a", "b", "c", "d")).decide.correction == "holm"


def test_no_two_challengers_are_drawn_alike() -> None:
    names = (*ALGORITHMS, "dpo-ipo", "kto-slow", "dpo-long")
    drawn = marks(names)
    assert tuple(drawn) == names and len(set(drawn.values())) == len(names)
    assert all(drawn[name] == row.mark for name, row in ALGORITHMS.items())
