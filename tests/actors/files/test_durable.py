"""What was acknowledged is on the disk, whole, whenever the power goes; and what fails leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import PROMPT_SCHEMA
from actors.errors import SalusError
from actors.files.atomic import (
    append_line,
    appending,
    create,
    log_lines,
    move_into_place,
    reading,
    remove,
    replacing,
    write_atomically,
)
from actors.files.full_disk import FullDiskError
from actors.files.shards import read_shard, write_table
from actors.serve.audit_log import AuditLog
from actors.serve.gateway.keys import KeyFile
from tests.power_cut import Tape, recorded
from tests.root import ROOT
from tests.rows import prompts
from tests.small_disk import fill, small_disk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    with reading(path) as log:
        return log_lines(log.read())


# -- the layer itself


def careless(path: Path, content: bytes) -> None:
    """As many programs write a file: renamed, but never synced."""
    path.with_suffix(".tmp").write_bytes(content)
    os.replace(path.with_suffix(".tmp"), path)


def found_in(tape: Tape, path: Path) -> set[tuple[int, bytes | None]]:
    """What a power cut may leave of a file, with how much had been acknowledged."""
    return {(len(done), path.read_bytes() if path.exists() else None) for done in tape.crashes()}


def test_the_layer_shows_what_a_careless_writer_loses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "state.json"
    path.write_bytes(b"former")
    with recorded(root, monkeypatch) as tape:
        careless(path, b"latter")
        tape.acknowledge("latter")
    assert found_in(tape, path) == {(n, kept) for n in (0, 1) for kept in (b"former", b"", b"lat", b"latter")}


# -- files


def test_a_file_is_the_former_or_the_latter_and_what_was_acknowledged_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "deep" / "er" / "state.json"
    with recorded(root, monkeypatch) as tape:
        for content in (b"one", b"two"):
            write_atomically(path, content)
            tape.acknowledge(content)
        remove(path)
        tape.acknowledge(None)
    assert found_in(tape, path) == {(0, None), (0, b"one"), (1, b"one"), (1, b"two"), (2, b"two"), (2, None), (3, None)}


def test_a_shard_under_its_name_is_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(root, monkeypatch) as tape:
        write_table(prompts(3), root / "rows" / "part-0.parquet")
        tape.acknowledge("part-0")
    seen = set()
    for done in tape.crashes():
        shards = sorted((root / "rows").glob("*.parquet"))
        assert len(shards) >= len(done)
        assert all(read_shard(shard, PROMPT_SCHEMA).num_rows == 3 for shard in shards)
        seen.add(len(shards))
    assert seen == {0, 1}


def test_a_folder_under_its_name_is_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = root / "report.json"
    with recorded(root, monkeypatch) as tape:
        (root / ".work" / "merged").mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (root / ".work" / "merged" / name).write_bytes(name.encode() * 10)
        move_into_place(root / ".work" / "merged", root / "merged")
        write_atomically(report, b"{}")
        tape.acknowledge("trained")
    for done in tape.crashes():
        if (root / "merged").exists():
            assert {path.name: path.read_bytes() for path in (root / "merged").iterdir()} == {
                name: name.encode() * 10 for name in ("config.json", "model.safetensors")
            }
        # What tells of the weights is there only with them.
        assert (root / "merged").exists() or not report.exists()
        assert report.exists() or not done


def test_of_several_that_create_a_file_one_does_and_keeps_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "1.json"
    with recorded(root, monkeypatch) as tape:
        assert create(path, b"mine") and not create(path, b"theirs")
        tape.acknowledge("mine")
    assert {kept for done, kept in found_in(tape, path) if done} == {b"mine"}


# -- logs


@pytest.mark.parametrize("torn", [b"", b"half a li"])
def test_a_log_keeps_every_line_it_acknowledged_in_order(
    root: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes
) -> None:
    path = root / "deep" / "log.jsonl"
    if torn:
        path.parent.mkdir()
        path.write_bytes(b"zero\n" + torn)
    known = [b"zero"] if torn else []
    with recorded(root, monkeypatch) as tape:
        for line in (b"one", b"two", b"three"):
            append_line(path, line)
            tape.acknowledge(line)
    for done in tape.crashes():
        there = lines(path)
        assert there in ([*known, *done], [*known, *[b"one", b"two", b"three"][: len(done) + 1]])
        append_line(path, b"after")
        assert lines(path) == [*there, b"after"]


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    code = "import sys; from pathlib import Path; from actors.files.atomic import append_line\n"
    code += "for n in range(40): append_line(Path(sys.argv[1]), (sys.argv[2] * 3000 + str(n)).encode())"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), who], cwd=ROOT) for who in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    for who in (b"a", b"b", b"c"):
        assert [line for line in lines(path) if line[:1] == who] == [who * 3000 + b"%d" % n for n in range(40)]
    assert len(lines(path)) == 120


def test_a_line_has_no_line_break(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line break"):
        append_line(tmp_path / "log", b"a\nb")


@pytest.mark.parametrize(
    ("folder", "log"), [(0o2770, 0o660), (0o755, 0o600), (0o700, 0o600), (0o1777, 0o600), (0o777, 0o600)]
)
def test_a_new_log_is_its_owners_and_that_of_a_group_which_shares_the_folder(root: Path, folder: int, log: int) -> None:
    root.chmod(folder)
    append_line(root / "log", b"line")
    assert stat.S_IMODE((root / "log").stat().st_mode) == log


# -- what people rely on


def test_keys_and_audit_entries_survive(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, log = root / "keys.jsonl", root / "audit.jsonl"
    states = [["a"], ["a", "b"], ["b"]]
    with recorded(root, monkeypatch) as tape:
        file = KeyFile(path)
        acts: list[Callable[[], object]] = [
            partial(file.add, "a", "admin"),
            partial(file.add, "b", "client"),
            partial(file.revoke, "a"),
        ]
        for act, names in zip(acts, states, strict=True):
            act()
            AuditLog(log).append("root", "keys", " ".join(names))
            tape.acknowledge(names)
    for done in tape.crashes():
        names = [key.name for key in KeyFile(path).entries()] if path.exists() else []
        assert names in [[], *states][len(done) : len(done) + 2]
        entries = AuditLog(log).readable()[0]
        assert [entry.detail.split() for entry in entries][: len(done)] == done
        assert len(entries) <= len(done) + 1
        AuditLog(log).append("root", "after")
        assert AuditLog(log).verify()[:2] == (len(entries) + 1, 0)


# -- what fails


def full(path: Path) -> None:
    write_atomically(path, b"x" * 100_000)


def table(path: Path) -> None:
    write_table(pa.table({"text": [os.urandom(50).hex() for _ in range(2000)]}), path)


def line(path: Path) -> None:
    append_line(path, b"x" * 100_000)


def lease(path: Path) -> None:
    assert create(path.with_name("other"), b"x" * 100_000)


@pytest.mark.parametrize("write", [full, table, line, lease])
def test_a_full_disk_is_its_sentence_and_leaves_what_was_there(tmp_path: Path, write: Callable[[Path], None]) -> None:
    with small_disk(tmp_path / "small", kib=64) as disk:
        known = disk / "known"
        known.write_bytes(b"first\n")
        fill(disk / "ballast")
        with pytest.raises(FullDiskError) as caught:
            write(known)
        assert isinstance(caught.value, SalusError)
        assert caught.value.sentence.startswith(f"The disk of {disk} is full (No space left on device); free space")
        assert known.read_bytes() == b"first\n"
        assert sorted(path.name for path in disk.iterdir()) == ["ballast", "known"]


def test_a_disk_that_fails_while_it_syncs_acknowledges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append_line(path, b"first")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    for write in (append_line, write_atomically):
        with pytest.raises(OSError, match="Input/output error") as caught:
            write(path, b"second")
        assert caught.value.filename == str(path)
    assert path.read_bytes() == b"first\n" and list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_locks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(SalusError, match=f"The file system of {tmp_path / 'log'} has no file locks"):
        append_line(tmp_path / "log", b"line")


def test_a_folder_that_cannot_be_synced_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", files_alone)
    write_atomically(tmp_path / "deep" / "file", b"content")
    assert (tmp_path / "deep" / "file").read_bytes() == b"content"


def test_what_a_block_refuses_leaves_the_former_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"former")
    with pytest.raises(KeyError), replacing(tmp_path / "file") as file:
        file.write(b"half")
        raise KeyError
    assert (tmp_path / "file").read_bytes() == b"former" and len(list(tmp_path.iterdir())) == 1
    with appending(tmp_path / "log") as log:
        assert (log.size, log.read()) == (0, b"")
