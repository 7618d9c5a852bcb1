"""`salus audit`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import PublicationAudit
from pipelines.cli.main import app
from tests.pipelines.cli.controls import controls
from tests.pipelines.cli.refused import refused


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["audit", *arguments], env={"COLUMNS": "300"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    audit = PublicationAudit(AuditLog(tmp_path / "audit.jsonl"), who=lambda: "anna")
    for version, reason in (("c1-kto", "[red]better[/red]"), ("c2-dpo", "")):
        with audit.entry("publish", version, "c0-base", reason, "http://127.0.0.1:8000"):
            pass
    return tmp_path


def test_a_whole_log_is_shown_with_its_last_hash(folder: Path) -> None:
    shown = typed(str(folder))
    assert shown.exit_code == 0
    [row] = [line for line in shown.output.splitlines() if "c1-kto" in line]
    assert row.split()[1:6] == ["anna", "publish", "c1-kto", "c0-base", "done"] and "[red]better[/red]" in row
    head = AuditLog(folder / "audit.jsonl").verify().head
    assert f"4 entries, each follows from the one before it; the last line's hash is {head}" in shown.output
    assert typed(str(folder), "--head", head).exit_code == 0


def test_no_control_character_of_a_log_reaches_the_terminal(tmp_path: Path) -> None:
    audit = PublicationAudit(AuditLog(tmp_path / "audit.jsonl"), who=lambda: "an\x1b]0;root\x07na")
    hostile = "\x1b[2J\x9b31m\r\u202eetaerc\u2066 \x7f caf\u00e9"
    with audit.entry("publish", "c1-\x1bkto", "c0-base", hostile, "http://127.0.0.1:8000"):
        pass
    shown = typed(str(tmp_path))
    assert shown.exit_code == 0 and controls(shown.output) == set()
    assert "an\\x1b]0;root\\x07na" in shown.output and "c1-\\x1bkto" in shown.output
    assert "\\x1b[2J\\x9b31m\\r\\u202eetaerc\\u2066 \\x7f caf\u00e9" in shown.output


def test_a_broken_chain_is_shown_up_to_where_it_breaks(folder: Path) -> None:
    path = folder / "audit.jsonl"
    head = AuditLog(path).verify().head
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[3])
    broken = typed(str(folder))
    assert broken.exit_code == 1 and "c1-kto" in broken.output and "c2-dpo" not in broken.output
    path.write_text("".join(lines[:3]))
    assert typed(str(folder)).exit_code == 0
    assert typed(str(folder), "--head", head).exit_code == 1


def test_where_nothing_was_published_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing was published there" in refused(capsys, "audit", str(tmp_path))
    assert "nothing was published there" in refused(capsys, "audit", f"file://{tmp_path}/registry")
