"""What a fleet registers, promotes and serves of runs that had no endpoint of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from pipelines.config.load import load_recipe, load_run_recipe, save_recipe
from pipelines.decision.record import read_decision
from pipelines.registry.store import Registry
from pipelines.runs.several import FleetFolder
from pipelines.serving.routed import check_some_start
from pipelines.serving.settings import load_settings
from pipelines.study.fleet.config import FleetConfig
from pipelines.study.fleet.member import Member
from pipelines.study.fleet.published import register_policies, write_serving
from tests.pipelines.registry.published import publish_run
from tests.quiet_reporter import SaidReporter


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that published two policies, and the deployed model that it began with."""
    place = tmp_path_factory.mktemp("made")
    publish_run(place / "run", place / "base")
    return place / "run"


@pytest.fixture
def member(tmp_path: Path, made: Path) -> Member:
    """A run without an endpoint: its two decisions let a policy go live, and no publication is on record."""
    folder = RunFolder(tmp_path / "fleet" / "policies" / "north")
    shutil.copytree(made, folder.root)
    recipe = load_run_recipe(folder.recipe)
    publish = recipe.publish.model_copy(update={"enabled": False, "max_model_len": 128})
    recipe = recipe.model_copy(update={"name": "north", "publish": publish})
    save_recipe(recipe, folder.recipe)
    folder.publications.unlink()
    return Member(name="north", recipe=recipe, run=RunFolder(folder.root))


def fleet(tmp_path: Path, promote: bool = False) -> FleetConfig:
    registries = {"registries": str(tmp_path / "registries"), "promote": promote}
    return FleetConfig.model_validate({"name": "wards", "recipe": "demo", "policies": [{"name": "north"}]} | registries)


def test_what_the_decisions_let_go_live_is_registered_under_the_policys_name(tmp_path: Path, member: Member) -> None:
    told = SaidReporter()
    (found,) = register_policies(fleet(tmp_path), [member], told)
    versions = [entry.version for entry in Registry(found.registry).entries()]
    # The deployed model too, to go back to.
    names = [version.rpartition("-")[0] for version in versions]
    assert names == ["north-s7-c0-base", "north-s7-c1-kto", "north-s7-c2-dpo"]
    assert found.version == versions[-1] and found.current is None and not found.needs_approval
    assert told.said == [f"policy north: {found.version} is in {found.registry}"]
    again = SaidReporter()
    assert register_policies(fleet(tmp_path), [member], again) == (found,)
    assert again.said == []


def test_the_newest_is_promoted_where_the_fleet_says_so_and_only_once(tmp_path: Path, member: Member) -> None:
    (found,) = register_policies(fleet(tmp_path, promote=True), [member], SaidReporter())
    assert found.current == found.version
    store = Registry(found.registry)
    store.promote(store.entries()[0].version, "a person goes back")
    (again,) = register_policies(fleet(tmp_path, promote=True), [member], SaidReporter())
    assert again.current == store.entries()[0].version != again.version


def test_what_a_person_must_approve_is_not_promoted(tmp_path: Path, member: Member) -> None:
    for cycle in (1, 2):
        path = member.run.decision(cycle)
        path.write_text(read_decision(path).held_for_approval().model_dump_json(), encoding="utf-8")
    (found,) = register_policies(fleet(tmp_path, promote=True), [member], SaidReporter())
    # The deployed model stays until then.
    assert found.version.startswith("north-s7-c0-base") and found.current == found.version


def test_a_registry_that_cannot_be_written_is_told(tmp_path: Path, member: Member) -> None:
    (tmp_path / "registries").write_text("a file")
    told = SaidReporter()
    assert register_policies(fleet(tmp_path), [member], told) == ()
    assert told.said[0].startswith("policy north is not registered: The registry ")


def test_serve_takes_the_settings_of_all(tmp_path: Path, member: Member) -> None:
    (found,) = register_policies(fleet(tmp_path, promote=True), [member], SaidReporter())
    folder = FleetFolder(tmp_path / "fleet")
    write_serving([], folder)
    assert not folder.serving.exists()
    write_serving([found], folder)
    settings = load_settings(folder.serving)
    assert settings.routed and list(settings.named) == ["north"]
    assert settings.named["north"].registry == found.registry
    assert settings.fit("north", found.version).max_model_len == 128
    # What the recipe does not say is as for all.
    assert settings.named["north"].publish.model_dump(exclude_none=True) == {"max_model_len": 128}
    check_some_start(settings, tmp_path / "other", None)


def test_nothing_is_registered_of_a_fleet_without_registries(tmp_path: Path) -> None:
    member = Member(name="north", recipe=load_recipe("demo"), run=RunFolder(tmp_path))
    config = FleetConfig.model_validate({**fleet(tmp_path).model_dump(), "registries": None})
    assert register_policies(config, [member], SaidReporter()) == ()
