"""Run folders: what may change between two calls of the same command, and what may not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from actors.errors import SalusError
from pipelines.config.load import load_recipe, load_run_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.lease.files import FOLDER
from pipelines.runs.lease.lease import hold
from pipelines.runs.open import ModelNote, add_cost, hold_run, note_model, noted_model, open_run, run_root
from tests.power_cut import recorded
from tests.quiet_reporter import QuietReporter


def demo(*changes: str) -> Recipe:
    return load_recipe("demo", changes)


def test_a_run_has_a_name_of_its_own_unless_told() -> None:
    assert run_root(demo("seed=3"), None) == Path("runs/demo-s3")
    assert run_root(demo(), Path("x")) == Path("x")


def test_a_run_goes_on_with_more_cycles_or_another_place(tmp_path: Path) -> None:
    open_run(demo("cycles=1"), tmp_path / "run", fresh=False)
    for change in (
        "cycles=3",
        "publish.port=9999",
        "cluster.object_store_gib=1",
        "generate.actors=2",
        "judge.cpus_per_actor=0.5",
        "train.resident=false",
        "train.cpus_per_worker=2",
        "judge.calibration=report.json",
        "judge.trust.min_kappa=0.5",
        "judge.accept_unreliable=true",
        "judge.train.epochs=9",
    ):
        folder = open_run(demo("cycles=3", change), tmp_path / "run", fresh=False)
    assert load_recipe(str(folder.recipe)).cycles == 3


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    open_run(demo(), tmp_path / "run", fresh=False)
    with pytest.raises(
        SalusError, match=r"train\.challengers\.kto\.beta: .* there, 0\.7 now\); give another folder .*--fresh"
    ):
        open_run(demo("train.challengers.kto.beta=0.7"), tmp_path / "run", fresh=False)
    with pytest.raises(SalusError, match=r"cycles: 3 there, 2 now"):
        open_run(demo("cycles=2"), tmp_path / "run", fresh=False)
    folder = open_run(demo("train.challengers.kto.beta=0.7"), tmp_path / "run", fresh=True)
    assert load_recipe(str(folder.recipe)).train.challengers["kto"].model_dump()["beta"] == 0.7


def test_a_run_of_an_earlier_version_goes_on_with_its_challengers(tmp_path: Path) -> None:
    folder = open_run(demo(), tmp_path / "run", fresh=False)
    tree = yaml.safe_load(folder.recipe.read_text())
    challengers = tree["train"].pop("challengers")
    former = {name: {key: value for key, value in of.items() if key != "algorithm"} for name, of in challengers.items()}
    tree["train"] |= {"algorithms": ["kto", "dpo"], **former}
    folder.recipe.write_text(yaml.safe_dump(tree))
    assert load_run_recipe(folder.recipe) == demo()
    with pytest.raises(SalusError, match=r"train\.challengers\.dpo\.beta: 0\.1 there, 0\.3 now"):
        open_run(demo("train.challengers.dpo.beta=0.3"), folder.root, fresh=False)
    assert open_run(demo(), folder.root, fresh=False).recipe.is_file()


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for fresh in (False, True):
        with pytest.raises(SalusError, match="is not empty and is not a run of Salus"):
            open_run(demo(), tmp_path, fresh=fresh)
        with (
            pytest.raises(SalusError, match="is not empty and is not a run of Salus"),
            hold_run(demo(), tmp_path, QuietReporter(), fresh),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_run_folder_has_one_holder_and_fresh_does_not_forget_whose_it_is(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with hold_run(demo(), root, QuietReporter()) as (folder, lease):
        with pytest.raises(SalusError, match="is in use by process"), hold_run(demo(), root, QuietReporter(), True):
            pass
        assert folder.recipe.is_file()
        lease.check()
    (root / "cycles").mkdir()
    (root / "note.txt").touch()
    with hold_run(demo("train.challengers.kto.beta=0.7"), root, QuietReporter(), True) as (folder, lease):
        assert sorted(path.name for path in root.iterdir()) == [FOLDER, "recipe.yaml", "run.json"]
        lease.check()


def test_a_folder_with_nothing_but_a_lease_is_a_new_one(tmp_path: Path) -> None:
    with hold(tmp_path, 60, QuietReporter().say):
        pass
    assert open_run(demo(), tmp_path, fresh=False).recipe.is_file()


def test_a_limit_of_a_few_beats_is_refused() -> None:
    with pytest.raises(SalusError, match=r"cluster\.lease_s"):
        demo("cluster.lease_s=5")


def test_costs_add_up_over_sessions(tmp_path: Path) -> None:
    folder = open_run(demo(), tmp_path / "run", fresh=False)
    add_cost(folder, 10.0, 3.0)
    cost = add_cost(folder, 5.0, 2.0)
    assert (cost.wall_s, cost.peak_memory_gib) == (15.0, 3.0)


def test_a_run_can_be_taken_up_whenever_the_power_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, root = demo(), tmp_path / "disk"
    root.mkdir()
    with recorded(root, monkeypatch) as tape:
        folder = open_run(recipe, root / "run", fresh=False)
        tape.acknowledge("opened")
        note_model(folder, "policy", ModelNote("/models/base", "ab"))
        tape.acknowledge("noted")
        add_cost(folder, 2.0, 1.0)
        tape.acknowledge("paid")
    for done in tape.crashes():
        folder = open_run(recipe, root / "run", fresh=False)
        note = noted_model(folder, "policy")
        assert note == ModelNote("/models/base", "ab") or (note is None and "noted" not in done)
        assert add_cost(folder, 1.0, 1.0).wall_s in ((3.0,) if "paid" in done else (1.0, 3.0))
