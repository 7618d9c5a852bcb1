"""Ray deletes its copy of a job's working directory: nothing that is kept may be written there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors.errors import SalusError
from actors.files.atomic import append_line, create, make_folder
from actors.files.job_copy import check_kept, in_job_copy
from actors.files.one_writer import only_writer
from actors.files.shards import write_text
from actors.serve.gateway.keys import KeyFile


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where Ray 2.60 unpacks a working directory, as seen in a job."""
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_c162f1e334cee44b"
    folder.mkdir(parents=True)
    return folder


def test_every_way_to_keep_something_there_is_refused(copy: Path) -> None:
    ways = (
        lambda: write_text("a", copy / "a.txt"),
        lambda: append_line(copy / "log.jsonl", b"{}"),
        lambda: create(copy / "lease", b""),
        lambda: make_folder(copy / "registry"),
        lambda: only_writer(copy / "feedback", 0.0, "feedback", "feedback.folder"),
        lambda: KeyFile(copy / "keys.jsonl").add("ward", "client"),
    )
    for way in ways:
        with pytest.raises(SalusError, match="in Ray's copy of the job's working directory, which Ray deletes"):
            way()
    assert list(copy.iterdir()) == []


def test_the_sentence_names_what_and_where(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy)
    with pytest.raises(SalusError, match=r"^The run folder runs/demo-s7 is in Ray's copy .* absolute path"):
        check_kept(Path("runs/demo-s7"), "The run folder")


def test_what_is_elsewhere_is_kept_also_through_a_link(copy: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.symlink(shared, copy / "runs")
    assert not in_job_copy(copy / "runs" / "demo-s7")
    write_text("a", copy / "runs" / "a.txt")
    assert (shared / "a.txt").read_text() == "a"
    assert not in_job_copy(tmp_path / "runtime_resources" / "mine")
