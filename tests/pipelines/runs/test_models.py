"""The models a run began with: known by their content, and kept where the run is to need nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from actors.engine.sampling_defaults import SamplingDefaults
from actors.errors import SalusError
from pipelines.cluster.plan import make_plan
from pipelines.config.load import load_recipe
from pipelines.runs.contents import MODEL_FILES, contents_of
from pipelines.runs.materials import BASE_VERSION
from pipelines.runs.models import at_hand, models_of_run
from pipelines.runs.open import noted_model, open_run, read_run_record
from tests.pipelines.with_models import Team, make_model
from tests.quiet_reporter import QuietReporter


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def test_what_a_run_begins_with_is_written_down_and_found_again(team: Team) -> None:
    materials = team.take()
    assert (materials.policy.version, materials.policy.path) == (BASE_VERSION, str(team.policy))
    assert materials.judge is not None and materials.judge.version == "ext-careful"
    note = noted_model(team.folder, "policy")
    assert note is not None
    assert (note.path, note.sha256) == (str(team.policy), contents_of(team.policy, MODEL_FILES).sha256)
    (team.policy / "notes.txt").write_text("other notes")
    assert team.take() == materials
    assert not team.folder.models.exists()


@pytest.mark.parametrize(("role", "called"), [("policy", "deployed policy"), ("judge", "judge's model")])
def test_another_model_in_its_place_is_refused(team: Team, role: str, called: str) -> None:
    team.take()
    record = team.folder.run_record.read_bytes()
    make_model(getattr(team, role), "other weights")
    with pytest.raises(
        SalusError, match=rf"The {called} in .* is not the one .*run began with \(SHA-256 [0-9a-f]{{12}}"
    ):
        team.take()
    assert team.folder.run_record.read_bytes() == record


def test_one_that_is_not_on_this_machine_is_told_by_its_hash(team: Team) -> None:
    shutil.rmtree(team.policy)
    with pytest.raises(SalusError, match="does not exist") as first:
        team.take()
    assert "began with" not in first.value.sentence
    make_model(team.policy, "weights")
    team.take()
    shutil.rmtree(team.policy)
    with pytest.raises(SalusError, match=r"does not exist.* began with a deployed policy of SHA-256 [0-9a-f]{12}"):
        team.take()


def test_a_run_that_keeps_its_models_needs_no_others(team: Team) -> None:
    first = team.take("self_contained=true")
    assert first.policy.path == str(team.folder.kept_model("policy"))
    assert {path.name for path in team.folder.kept_model("policy").iterdir()} == {
        "config.json", "model.safetensors", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    shutil.rmtree(team.policy.parent)
    # As on another machine: what is not here is not looked for.
    assert team.take("self_contained=true") == team.take() == first
    assert first.judge is not None and first.judge.version == "ext-careful"
    note = noted_model(team.folder, "judge")
    assert note is not None and note.path == str(team.judge)


def test_a_plan_is_made_by_the_models_at_hand(team: Team) -> None:
    kept = team.take("self_contained=true")
    found = at_hand(team.recipe(), kept)
    assert (found.model.path, found.judge.path) == tuple(str(team.folder.kept_model(r)) for r in ("policy", "judge"))
    assert make_plan(found).rows
    shutil.rmtree(team.policy.parent)
    with pytest.raises(SalusError, match="is not known, as there is no such folder"):
        make_plan(team.recipe())
    assert make_plan(found) is not None
    # What Salus builds has the size its settings say.
    assert at_hand(load_recipe("demo"), kept) == load_recipe("demo")


def test_a_run_may_begin_to_keep_its_models_later(team: Team) -> None:
    team.take()
    kept = team.take("self_contained=true")
    assert kept.judge is not None
    assert (Path(kept.judge.path) / "model.safetensors").read_bytes() == (team.judge / "model.safetensors").read_bytes()


def test_a_copy_that_was_changed_is_refused(team: Team) -> None:
    team.take("self_contained=true")
    (team.folder.kept_model("policy") / "model.safetensors").write_text("changed")
    with pytest.raises(SalusError, match=r"The deployed policy in .*run/models/policy is not the one"):
        team.take("self_contained=true")


def test_the_record_of_an_earlier_version_learns_the_hash(team: Team) -> None:
    team.take()
    record = json.loads(team.folder.run_record.read_text())
    old = {name: value for name, value in record.items() if not name.endswith("_sha256")}
    team.folder.run_record.write_text(json.dumps(old))
    note = noted_model(team.folder, "policy")
    assert note is not None and note.sha256 is None
    team.take()
    assert json.loads(team.folder.run_record.read_text()) == record


def test_a_process_that_was_replaced_meanwhile_writes_nothing(team: Team) -> None:
    def lost() -> None:
        raise SalusError("the lease is lost")

    recipe = team.recipe("self_contained=true")
    open_run(recipe, team.folder.root, fresh=False)
    with pytest.raises(SalusError, match="the lease is lost"):
        models_of_run(recipe, team.folder, QuietReporter(), lost)
    assert noted_model(team.folder, "policy") is None and not team.folder.models.exists()


def test_a_run_whose_policy_judges_has_no_judge(team: Team) -> None:
    assert team.take("judge.regimen=SELF").judge is None
    assert noted_model(team.folder, "judge") is None


def test_what_the_model_adds_to_a_request_is_written_down(team: Team) -> None:
    (team.policy / "generation_config.json").write_text('{"repetition_penalty": 1.3, "top_k": 20}')
    team.take()
    found = read_run_record(team.folder).sampling_defaults
    assert found == SamplingDefaults(repetition_penalty=1.3, top_k=20)
    assert json.loads(team.folder.run_record.read_text())["sampling_defaults"]["repetition_penalty"] == 1.3
