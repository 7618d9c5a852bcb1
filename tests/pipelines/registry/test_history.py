"""Which policy is current: promotion, rollback, and a log that was tampered with."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import outcomes
from pipelines.cli.main import main
from pipelines.registry.register import register_run
from pipelines.registry.store import AUDIT, RECORD, Registry
from tests.small_disk import fill, small_disk


def test_rollback_takes_promotions_back_one_by_one(registry: Registry, versions: Sequence[str]) -> None:
    for version in versions:
        registry.promote(version, "a better one")
    assert registry.history.current() == versions[2]
    assert registry.rollback("too many refusals").version == versions[1]
    registry.promote(versions[2], "again")
    assert [registry.rollback("").version for _ in range(2)] == [versions[1], versions[0]]
    with pytest.raises(SalusError, match="has no former policy to go back to"):
        registry.rollback("")
    assert registry.history.current() == versions[0]
    assert len(registry.history.changes()) == 7


def test_the_log_says_when_from_to_who_and_why(registry: Registry, versions: Sequence[str]) -> None:
    registry.promote("demo-s7-c1", "first")
    registry.promote("demo-s7-c2", "second")
    lines = [json.loads(line) for line in (registry.root / "history.jsonl").read_text().splitlines()]
    assert lines[1] == {
        "action": "promote",
        "time": "2026-11-22T12:00:00+00:00",
        "from": versions[1],
        "to": versions[2],
        "who": pwd.getpwuid(os.getuid()).pw_name,
        "why": "second",
    }
    assert lines[0]["from"] is None


def test_what_may_not_be_promoted(run: RunFolder, registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[1], "")
    with pytest.raises(SalusError, match="is the current policy already"):
        registry.promote(versions[1], "")
    with pytest.raises(SalusError, match=r"begins several versions \(demo-s7-c0-base-"):
        registry.promote("demo", "")
    for unknown in ("", "nobody", "../demo"):
        with pytest.raises(SalusError, match="has no policy"):
            registry.promote(unknown, "")
    with pytest.raises(SalusError, match="control character"):
        registry.promote(versions[2], "fine\nx")
    (run.training(2, "dpo") / "merged" / "config.json").write_text("{}")
    with pytest.raises(SalusError, match=r"config\.json in"):
        registry.promote(versions[2], "")
    assert registry.history.current() == versions[1]


def test_no_rollback_to_weights_that_are_gone(run: RunFolder, registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[1], "")
    registry.promote(versions[2], "")
    (run.training(1, "kto") / "merged" / "model.safetensors").unlink()
    with pytest.raises(SalusError, match="are not what was registered"):
        registry.rollback("")
    assert registry.history.current() == versions[2]


def test_a_log_changed_by_hand_is_refused(registry: Registry, versions: Sequence[str]) -> None:
    log = registry.root / "history.jsonl"
    for version in versions:
        registry.promote(version, "")
    lines = log.read_text().splitlines(keepends=True)
    log.write_text(lines[0] + lines[2])
    with pytest.raises(SalusError, match="line 2 does not follow from the lines before it"):
        registry.history.current()
    log.write_text(lines[0] + '{"action": \n')
    with pytest.raises(SalusError, match="line 2 is not a change"):
        registry.promote(versions[2], "")
    with pytest.raises(SalusError, match="line 2 is not a change"):
        registry.rollback("")


def test_half_a_line_that_a_crash_left_stops_no_rollback(registry: Registry, versions: Sequence[str]) -> None:
    for version in versions:
        registry.promote(version, "")
    with (registry.root / "history.jsonl").open("a") as log:
        log.write('{"action": "promote", "ti')
    assert registry.history.current() == versions[2]
    assert registry.rollback("").version == versions[1]
    assert [change.version for change in registry.history.changes()] == [*versions, versions[1]]


def test_a_full_disk_changes_nothing_and_is_a_sentence(
    tmp_path: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", kib=256) as disk:
        registry = Registry(disk / "registry")
        first, second, _ = (each.version or "" for each in register_run(run.root, registry))
        registry.promote(first, "")
        kept = (registry.root / "history.jsonl").read_bytes()
        fill(disk / "ballast")
        # The page of the audit log has room for its two entries; the line of the history needs another page.
        with pytest.raises(SystemExit) as end:
            main(["policy", "promote", second, "--reason", "x" * 5000, "--registry", str(registry.root)])
        assert end.value.code == 2
        assert f"The disk of {registry.root} is full (No space left on device); free" in capsys.readouterr().err
        assert (registry.root / "history.jsonl").read_bytes() == kept
        last = outcomes(AuditLog(registry.root / AUDIT).readable()[0])[-1].entry
        assert last is not None and last.outcome == "refused" and "is full" in (last.fault or "")
        (disk / "ballast").unlink()
        registry.promote(second, "")
        assert registry.rollback("").version == first


def test_records_that_are_damaged_or_misplaced_are_named(registry: Registry, versions: Sequence[str]) -> None:
    path = registry.folder(registry.find(versions[2])) / RECORD
    text = path.read_text()
    path.write_text(text.replace('"cycle": 2', '"cycle": "two"', 1))
    with pytest.raises(SalusError, match=r"is no record of a policy \(origin.cycle"):
        registry.entries()
    path.write_text(text.replace("model.safetensors", "../model.safetensors"))
    with pytest.raises(SalusError, match="is no record of a policy"):
        registry.entries()
    path.write_text(text)
    path.parent.rename(path.parent.with_name("another"))
    with pytest.raises(SalusError, match=f"is the record of {versions[2]}"):
        registry.entries()
