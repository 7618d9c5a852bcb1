"""The key file: private, whole after a crash, and safe for two writers at once."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.errors import SalusError
from actors.serve.gateway.keys import KeyFile, strict_keys


def names(path: Path) -> list[str]:
    return [key.name for key in KeyFile(path).entries()]


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.jsonl"
    token = KeyFile(path).add("a", "admin")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token not in path.read_text(encoding="utf-8")
    assert [(key.name, key.role) for key in KeyFile(path).entries()] == [("a", "admin")]


def test_revoking_leaves_every_other_line_and_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    file = KeyFile(path)
    file.add("a", "client")
    path.write_text("# by hand\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    kept = path.read_text(encoding="utf-8")
    path.chmod(0o640)
    file.add("b", "reviewer")
    assert file.revoke("b").role == "reviewer"
    assert path.read_text(encoding="utf-8") == kept
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not list(tmp_path.glob("*.tmp"))


def test_what_is_refused_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    file = KeyFile(path)
    with pytest.raises(SalusError, match="There is no key file"):
        file.revoke("a")
    assert list(tmp_path.iterdir()) == []
    file.add("a", "client")
    before = path.read_text(encoding="utf-8")
    for refused in (lambda: file.add("a", "client"), lambda: file.revoke("b"), lambda: file.add("a b", "client")):
        with pytest.raises(SalusError):
            refused()
    assert path.read_text(encoding="utf-8") == before


def test_half_a_line_that_a_crash_left_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    file = KeyFile(path)
    file.add("a", "client")
    with path.open("a", encoding="utf-8") as torn:
        torn.write('{"name": "b", "ro')
    with pytest.raises(SalusError, match=r"keys\.jsonl:2 is not a key"):
        file.add("c", "client")
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")
    # No line break at the end: the next key still gets a line of its own.
    file.add("c", "client")
    assert names(path) == ["a", "c"]


def test_two_writers_at_once_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    made = [f"k{n}" for n in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: KeyFile(path).add(name, "client"), made))
        list(pool.map(lambda name: KeyFile(path).revoke(name), made[::2]))
    assert sorted(names(path)) == sorted(made[1::2])


def test_one_others_may_write_or_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    KeyFile(path).add("a", "client")
    for mode in (0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(SalusError, match="chmod go-w"):
            strict_keys(path)
    path.chmod(0o644)
    assert len(strict_keys(path)) == 1
    with pytest.raises(SalusError, match="cannot be read"):
        strict_keys(tmp_path)
    path.write_bytes(b"\xff\n")
    with pytest.raises(SalusError, match="not UTF-8"):
        strict_keys(path)
    with pytest.raises(SalusError, match="cannot be written"):
        KeyFile(path / "below").add("a", "client")
