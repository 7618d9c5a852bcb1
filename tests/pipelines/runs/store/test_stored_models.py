"""The models of a stored run, on a machine that has the run and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.contents import MODEL_FILES, contents_of
from pipelines.runs.materials import Materials
from pipelines.runs.models import models_of_run
from pipelines.runs.open import hold_run
from pipelines.runs.store.place import RemotePlace
from tests.pipelines.runs.store.conftest import Move
from tests.pipelines.runs.store.stored import index_of
from tests.pipelines.with_models import Team
from tests.quiet_reporter import QuietReporter


def session(team: Team, place: RemotePlace, *changes: str) -> tuple[RunFolder, Materials]:
    """One session of the stored run, as far as its models."""
    recipe = team.recipe(*changes)
    with hold_run(recipe, place, QuietReporter()) as (folder, hold):
        return folder, models_of_run(recipe, folder, QuietReporter(), hold.check)


def test_a_run_that_keeps_its_models_goes_on_where_they_are_not(
    place: RemotePlace, tmp_path: Path, move_to: Move
) -> None:
    team = Team(tmp_path)
    first, here = session(team, place, "self_contained=true")
    weights = contents_of(team.policy, MODEL_FILES)
    assert "models/judge/model.safetensors" in index_of(place).sums()
    move_to("b")
    shutil.rmtree(team.policy.parent)
    second, there = session(team, place, "self_contained=true")
    assert first.root != second.root
    assert there.policy.path == str(second.kept_model("policy"))
    assert contents_of(Path(there.policy.path), MODEL_FILES) == weights
    assert here.judge is not None and there.judge is not None and here.judge.version == there.judge.version


def test_a_run_that_does_not_says_which_model_is_missing(place: RemotePlace, tmp_path: Path, move_to: Move) -> None:
    team = Team(tmp_path)
    session(team, place)
    digits = contents_of(team.policy, MODEL_FILES).sha256[:12]
    assert not any(name.startswith("models/") for name in index_of(place).sums())
    move_to("b")
    shutil.rmtree(team.policy)
    with pytest.raises(SalusError, match=f"began with a deployed policy of SHA-256 {digits}"):
        session(team, place)
