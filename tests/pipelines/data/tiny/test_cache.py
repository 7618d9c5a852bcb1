"""The content-hash cache: built once, whole or not at all, and keyed by settings and sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.data.tiny.cache import cached, content_key, default_cache_root


def test_builds_once_and_returns_the_same_folder(tmp_path: Path) -> None:
    calls: list[Path] = []

    def build(folder: Path) -> None:
        calls.append(folder)
        (folder / "a.txt").write_text("a")

    first = cached(tmp_path, "key", build)
    assert cached(tmp_path, "key", build) == first == tmp_path / "key"
    assert len(calls) == 1 and (first / "a.txt").read_text() == "a"


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached(tmp_path, "key", build)
    assert list(tmp_path.iterdir()) == []


def test_the_one_that_finishes_second_takes_the_first_ones_copy(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (tmp_path / "key").mkdir()
        (tmp_path / "key" / "a.txt").write_text("first")
        (folder / "a.txt").write_text("second")

    assert (cached(tmp_path, "key", build) / "a.txt").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_key_depends_on_settings_and_sources(tmp_path: Path) -> None:
    source = tmp_path / "s.py"
    source.write_text("1")
    key = content_key("x", {"a": 1}, [source])
    assert key == content_key("x", {"a": 1}, [source]) and key.startswith("x-")
    assert key != content_key("x", {"a": 2}, [source])
    source.write_text("2")
    assert key != content_key("x", {"a": 1}, [source])


def test_the_root_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path))
    assert default_cache_root() == tmp_path
