"""What a fleet's file may say, and the sentence for what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.errors import SalusError
from pipelines.runs.several import FleetFolder
from pipelines.study.fleet.config import load_fleet
from pipelines.study.fleet.run import fleet_root, members_of
from tests.pipelines.cli.refused import refused


def written(tmp_path: Path, **settings: Any) -> str:
    path = tmp_path / "wards.yaml"
    tree = {"name": "wards", "recipe": "demo", "policies": [{"name": "north"}, {"name": "south"}], **settings}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return str(path)


def test_each_policy_is_a_recipe_of_its_own(tmp_path: Path) -> None:
    north = {"name": "north", "seed": 3, "weight": 2, "set": ["judge.regimen=RULES"]}
    south = {"name": "south", "recipe": "medsafety", "data": "/data", "priority": 1, "registry": "own"}
    fleet = load_fleet(written(tmp_path, set=["cycles=2"], policies=[north, south], cluster={"wait_s": 5}))
    first, second = members_of(fleet, FleetFolder(tmp_path / "run"))
    assert (first.name, first.weight, first.priority, first.kind) == ("north", 2, 0, "policy")
    assert (first.recipe.name, first.recipe.seed, first.recipe.cycles) == ("north", 3, 2)
    assert first.recipe.judge.regimen == "RULES" and not first.recipe.publish.enabled
    assert (second.recipe.data.source, second.recipe.data.path, second.priority) == ("medsafety", "/data", 1)
    assert first.recipe.cluster.wait_s == second.recipe.cluster.wait_s == 5
    assert first.run.root == tmp_path / "run" / "policies" / "north"
    assert [fleet.registry_of(each) for each in fleet.policies] == [Path("registries/north"), Path("own")]
    assert fleet_root(fleet, None) == Path("runs/wards")


def test_a_fleet_without_registries_registers_nothing(tmp_path: Path) -> None:
    fleet = load_fleet(written(tmp_path, registries=None))
    assert [fleet.registry_of(each) for each in fleet.policies] == [None, None]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"policies": [{"name": "a"}, {"name": "a"}]}, "policies names a twice"),
        (
            {"policies": [{"name": name, "registry": "r"} for name in "ab"]},
            "two policies have the registry",
        ),
        ({"recipe": None}, "policy north has no recipe"),
        ({"policies": [{"name": "a", "weight": 0}]}, "greater than 0"),
        ({"policies": [{"name": "A/b"}]}, "pattern"),
        ({"policies": []}, "at least 1"),
        ({"polices": []}, "did you mean 'policies'"),
        ({"cluster": {"shared_judges": {"namespace": "n", "actors": ["a"]}}}, "found by the fleet itself"),
    ],
)
def test_a_bad_fleet_is_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SalusError, match=says):
        load_fleet(written(tmp_path, **settings))


def test_a_policy_whose_recipe_is_wrong_is_named(tmp_path: Path) -> None:
    fleet = load_fleet(written(tmp_path, policies=[{"name": "north", "set": ["cycels=2"]}]))
    with pytest.raises(SalusError, match=r"Policy north of fleet wards: .*did you mean 'cycles'"):
        members_of(fleet, FleetFolder(tmp_path))


def test_what_is_no_fleet_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "demo is no fleet; start it with: salus align demo" in refused(capsys, "fleet", "demo")
    assert "study is no fleet; start it with: salus study study" in refused(capsys, "fleet", "study")
    assert "wards is no fleet: name a .yaml file" in refused(capsys, "fleet", "wards")
    assert "does not exist" in refused(capsys, "fleet", str(tmp_path / "none.yaml"))
    (tmp_path / "thesis.txt").write_text("mine")
    words = refused(capsys, "fleet", written(tmp_path), "--run", str(tmp_path))
    assert "is not empty and is not a fleet of Salus" in words


def test_a_fleet_that_cannot_fit_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for plan in (["--plan"], []):
        where = ("--run", str(tmp_path / "run"), "--set", "cluster.memory_gib=2")
        words = refused(capsys, "fleet", written(tmp_path), *where, *plan)
        assert "Recipe north needs" in words and "GiB of memory" in words
    assert not (tmp_path / "run" / "policies").exists()
