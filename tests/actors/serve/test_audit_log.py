"""The audit log: kept through crashes, and honest about what was done to it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import SalusError
from actors.serve.audit_log import BEGINNING, AuditLog, AuditState

DEEDS = [("ward-3", "publish", "c1-dpo"), ("root", "rollback", "too many\nrefusals é"), ("ward-3", "publish", "c2-kto")]


def log_of(path: Path) -> AuditLog:
    return AuditLog(path, lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "audit.jsonl"
    for deed in DEEDS:
        log_of(path).append(*deed)
    return path


def test_every_deed_is_a_line_that_holds_the_hash_of_the_one_before(written: Path) -> None:
    entries = log_of(written).readable()[0]
    assert [(entry.who, entry.action, entry.detail) for entry in entries] == DEEDS
    assert entries[0].previous == BEGINNING
    assert len(written.read_text(encoding="utf-8").splitlines()) == len(DEEDS)
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    state = log_of(written).verify()
    assert state[:2] == (3, 0)
    assert log_of(written).append("root", "publish") != state.head
    assert log_of(written).verify(state.head).entries == 4


def test_there_is_nothing_wrong_with_no_log(tmp_path: Path) -> None:
    assert log_of(tmp_path / "audit.jsonl").verify() == AuditState(0, 0, BEGINNING)


@pytest.mark.parametrize("harm", ["removed", "changed", "put in", "swapped", "garbage put in", "turned into garbage"])
def test_what_was_done_to_a_line_shows(written: Path, harm: str) -> None:
    lines = written.read_text(encoding="utf-8").splitlines()
    one, two, three = lines
    lines = {
        "removed": [one, three],
        "changed": [one, two.replace("rollback", "publish"), three],
        "put in": [one, two, two, three],
        "swapped": [two, one, three],
        "garbage put in": [one, "{", two, three],
        "turned into garbage": [one, "{", three],
    }[harm]
    written.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(SalusError, match=r"audit\.jsonl:\d does not follow"):
        log_of(written).verify()


def test_an_end_cut_off_shows_to_who_kept_the_hash(written: Path) -> None:
    head = log_of(written).verify().head
    lines = written.read_text(encoding="utf-8").splitlines(keepends=True)
    written.write_text("".join(lines[:-1]), encoding="utf-8")
    assert log_of(written).verify().entries == 2
    with pytest.raises(SalusError, match="no longer holds the line"):
        log_of(written).verify(head)


@pytest.mark.parametrize("torn", [b'{"time":"2026', b"\xff\x00", b"x" * 300_000])
def test_half_a_line_at_the_end_is_passed_over_and_cut_off(written: Path, torn: bytes) -> None:
    before, head = written.read_bytes(), log_of(written).verify().head
    written.write_bytes(before + torn)
    assert log_of(written).verify() == (3, 0, head) and len(log_of(written).readable()[0]) == 3
    log_of(written).append("root", "publish", "after")
    assert log_of(written).verify()[:2] == (4, 0)
    assert written.read_bytes().startswith(before) and written.read_bytes().count(b"\n") == 4


@pytest.mark.parametrize("torn", [b'{"time":"2026\n', b"\xff\x00\n", b"a\nb\n"])
def test_half_a_line_that_earlier_versions_ended_stays_and_is_vouched_for(written: Path, torn: bytes) -> None:
    with written.open("ab") as file:
        file.write(torn)
    halves = torn.count(b"\n")
    assert log_of(written).verify()[:2] == (3, halves)
    log_of(written).append("root", "publish", "after")
    assert log_of(written).verify()[:2] == (4, halves)
    lines = written.read_bytes().splitlines(keepends=True)
    for gone in range(len(lines) - 1):
        written.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
        with pytest.raises(SalusError, match="does not follow"):
            log_of(written).verify()


def test_a_line_without_its_break_was_acknowledged_to_no_one(written: Path) -> None:
    written.write_bytes(written.read_bytes().removesuffix(b"\n"))
    assert log_of(written).verify()[:2] == (2, 0)
    log_of(written).append("root", "publish")
    assert log_of(written).verify()[:2] == (3, 0)


def test_several_writers_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: AuditLog(path).append("root", "publish", str(n)), range(20)))
    assert AuditLog(path).verify()[:2] == (20, 0)


def test_what_is_no_entry_is_refused_and_writes_nothing(written: Path) -> None:
    before = written.read_bytes()
    for who, action, detail in (("", "publish", ""), ("a", "Publish!", ""), ("a", "publish", "x" * 4001)):
        with pytest.raises(SalusError, match="does not take this entry"):
            log_of(written).append(who, action, detail)
    assert written.read_bytes() == before
    with pytest.raises(SalusError, match="cannot be written"):
        log_of(written / "below").append("a", "publish")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=100)), min_size=1, max_size=4))
def test_any_text_is_kept_as_it_was_said(tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    for who, detail in said:
        log_of(path).append(who, "publish", detail)
    assert [(entry.who, entry.detail) for entry in log_of(path).readable()[0]] == said
    assert log_of(path).verify().entries == len(said)
