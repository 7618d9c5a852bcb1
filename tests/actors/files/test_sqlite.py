"""A database is durable, overwrites what it deletes, and shares memory on this machine's file systems alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from actors.files import sqlite
from actors.files.sqlite import open_writer, shares_memory

MARK = 7
FULL = 2


@pytest.mark.parametrize(("shared", "mode"), [(True, "wal"), (False, "delete")])
def test_a_commit_is_on_disk_and_what_is_deleted_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool, mode: str
) -> None:
    monkeypatch.setattr(sqlite, "shares_memory", lambda folder: shared)
    with closing(open_writer(tmp_path / "j" / "db", MARK)) as connection:

        def setting(name: str) -> object:
            (value,) = connection.execute(f"PRAGMA {name}").fetchone()
            return value

        assert setting("journal_mode") == mode
        assert setting("synchronous") in (FULL, FULL + 1)
        assert setting("secure_delete") == 1


@pytest.mark.parametrize(
    ("mounts", "shared"),
    [
        ({"/": "ext4"}, True),
        ({"/": "overlay", "/data": "nfs4"}, False),
        ({"/": "nfs4", "/data": "xfs"}, True),
        ({"/": "ext4", "/data/far": "cifs", "/dat": "nfs"}, True),
        ({"/": "ext4", "/data": "fuse.sshfs"}, False),
        # What is not known may be anywhere.
        ({"/": "newfs"}, False),
        ({}, False),
    ],
)
def test_memory_is_shared_where_the_file_system_is_this_machines(
    monkeypatch: pytest.MonkeyPatch, mounts: Mapping[str, str], shared: bool
) -> None:
    found = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in mounts.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)
    assert shares_memory(Path("/data/feedback")) is shared


def test_the_last_mount_at_a_place_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SimpleNamespace(mountpoint="/data", fstype=kind) for kind in ("ext4", "nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)
    assert not shares_memory(Path("/data"))
