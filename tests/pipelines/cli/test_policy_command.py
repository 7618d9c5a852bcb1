"""`salus policy`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from pipelines.cli.main import app
from tests.pipelines.cli.refused import refused


def typed(registry: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["policy", *arguments, "--registry", str(registry)], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_from_a_run_to_an_exported_policy(published: RunFolder, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    assert "c1-kto: new, demo-s7-c1-kto-" in typed(registry, "register", str(published.root))
    typed(registry, "promote", "demo-s7-c1", "--reason", "better")
    assert "is current (before: demo-s7-c1-kto-" in typed(registry, "promote", "demo-s7-c2")
    assert "demo-s7-c1-kto" in typed(registry, "rollback")
    [row] = [line for line in typed(registry, "list").splitlines() if "current" in line and "c1-kto" in line]
    assert row.split()[1:] == ["demo-s7", "1", "kto", "1.000", "0.000", "current"]
    shown = typed(registry, "show", "demo-s7-c2")
    assert "trained from demo-s7-c1-kto-" in shown and "<script>" in shown and "Safety Score (SS)" in shown
    assert json.loads(typed(registry, "show", "demo-s7-c2", "--json"))["origin"]["run_version"] == "c2-dpo"
    typed(registry, "export", "demo-s7-c2", str(tmp_path / "out"))
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_what_is_refused_gets_a_sentence(
    published: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    option = ("--registry", str(tmp_path / "registry"))
    assert "register a run first" in refused(capsys, "policy", "list", *option)
    assert "is not a run folder" in refused(capsys, "policy", "register", str(tmp_path), *option)
    typed(tmp_path / "registry", "register", str(published.root))
    assert "no former policy to go back to" in refused(capsys, "policy", "rollback", *option)
    assert "has no policy 'x'" in refused(capsys, "policy", "export", "x", str(tmp_path / "out"), *option)
