"""`manifest.json` of a finished run, and what `salus runs verify` makes of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.errors import SalusError
from actors.files.sums import file_sum
from actors.serve.audit_log import AuditLog
from pipelines.cli.main import app
from pipelines.runs.checksums import check_sums, read_sums, run_hash, write_sums
from pipelines.runs.finished.diff import diff_runs
from pipelines.runs.finished.manifest import Manifest, check_manifest, read_manifest, seal_run
from pipelines.runs.open import ModelNote, note_model
from pipelines.runs.store.contents import snapshot
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import LOST, RunMaker, put, recipe


def test_the_sums_vouch_for_the_manifest_and_the_manifest_for_every_other_file(
    tmp_path: Path, made_run: RunMaker
) -> None:
    folder = made_run(tmp_path / "run")
    manifest = read_manifest(folder)
    assert manifest is not None
    sums = read_sums(folder)
    assert sums["manifest.json"] == file_sum(folder.manifest)
    assert sum(artefact.files for artefact in manifest.artefacts) == len(sums) - 1
    assert {artefact.kind for artefact in manifest.artefacts} >= {"prompts", "judgments", "adapter", "decision"}
    by_path = {artefact.path: artefact for artefact in manifest.artefacts}
    made_from = {source.path: source.sha256 for source in by_path[LOST].made_from}
    assert made_from == {"cycles/01/dpo/adapter": by_path["cycles/01/dpo/adapter"].sha256, "model:policy": "b" * 64}
    # As coreutils would: one line per file, in order of name.
    printed = subprocess.run(
        ["sha256sum", "config.json", "model.safetensors"], cwd=folder.root / LOST, capture_output=True, check=True
    )
    assert by_path[LOST].sha256 == hashlib.sha256(printed.stdout).hexdigest()


def test_the_same_run_is_sealed_alike_and_a_setting_shows_where_it_matters(tmp_path: Path, made_run: RunMaker) -> None:
    def settings_of(manifest: Manifest | None) -> dict[str, str]:
        assert manifest is not None
        return {artefact.path: artefact.settings_sha256 for artefact in manifest.artefacts}

    folder = made_run(tmp_path / "run")
    before = folder.manifest.read_bytes()
    seal_run(recipe(), folder)
    assert folder.manifest.read_bytes() == before
    plain = settings_of(read_manifest(folder))
    other = settings_of(read_manifest(made_run(tmp_path / "other", "train.challengers.kto.beta=0.3")))
    assert {path for path in plain if plain[path] != other[path]} == {
        f"cycles/01/kto/{name}" for name in ("adapter", "merged", "assignment.json", "report.json")
    }
    elsewhere = settings_of(read_manifest(made_run(tmp_path / "elsewhere", "generate.actors=2")))
    assert elsewhere == plain


def test_a_model_from_outside_is_known_by_its_content_wherever_it_lay(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    before = folder.manifest.read_bytes()
    note_model(folder, "policy", ModelNote(path="/another/machine/models/base", sha256="b" * 64))
    seal_run(recipe(), folder)
    run_record = file_sum(folder.run_record)
    assert folder.manifest.read_bytes() != before and run_record.encode() in folder.manifest.read_bytes()
    manifest = read_manifest(folder)
    assert manifest is not None and [(model.path, model.sha256) for model in manifest.outside] == [(None, "b" * 64)]
    # As earlier versions wrote it.
    old = manifest.model_dump(mode="json") | {"outside": [{"name": "model:policy", "path": "/x", "sha256": "b" * 64}]}
    folder.manifest.write_text(json.dumps(old))
    assert read_manifest(folder) is not None


def test_a_kept_copy_of_a_model_is_vouched_for_and_no_difference_between_runs(
    tmp_path: Path, made_run: RunMaker
) -> None:
    plain, keeping = made_run(tmp_path / "plain"), made_run(tmp_path / "keeping")
    put(keeping.kept_model("policy") / "model.safetensors", b"weights")
    seal_run(recipe(), keeping)
    manifest = read_manifest(keeping)
    assert manifest is not None
    kept = next(artefact for artefact in manifest.artefacts if artefact.path == "models/policy")
    assert (kept.kind, [source.path for source in kept.made_from]) == ("model", ["model:policy"])
    check_manifest(keeping)
    found = diff_runs(plain, keeping)
    assert "models/policy" in {each.path for each in found.artefacts} and found.parting is None


def test_verify_holds_a_run_against_its_manifest(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    result = CliRunner().invoke(app, ["runs", "verify", str(folder.root)])
    assert result.exit_code == 0
    assert "files as the run left them, run hash" in result.output


def test_what_is_audited_after_a_runs_end_changes_neither_its_hash_nor_its_manifest(
    tmp_path: Path, made_run: RunMaker
) -> None:
    folder = made_run(tmp_path / "run")
    before = run_hash(folder)
    AuditLog(folder.audit).append("anna", "start", "served again")
    assert check_sums(folder).intact
    check_manifest(folder)
    assert write_sums(folder) == before
    # It is uploaded with the run all the same.
    assert folder.audit.name in snapshot(folder)


def test_sums_written_anew_over_a_changed_file_do_not_hide_it(
    tmp_path: Path, made_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_run(tmp_path / "run")
    folder.decision(1).write_text(folder.decision(1).read_text() + " ")
    write_sums(folder)
    assert check_sums(folder).intact
    said = refused(capsys, "runs", "verify", str(folder.root))
    assert "does not agree with the files of its run (cycles/01/decision.json is not what it names)" in said


def test_a_manifest_that_cannot_be_read_is_named_and_one_that_is_not_there_is_none(
    tmp_path: Path, made_run: RunMaker
) -> None:
    folder = made_run(tmp_path / "run")
    folder.manifest.unlink()
    write_sums(folder)
    check_manifest(folder)
    folder.manifest.write_text("{}")
    with pytest.raises(SalusError, match="is not a manifest of version 1"):
        check_manifest(folder)
