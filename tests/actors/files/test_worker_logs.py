"""What Ray's workers print is read as it comes, and kept bounded and private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from actors.files import worker_logs
from actors.files.private import private_files
from actors.files.worker_logs import LogLine, WorkerLogs, keep_logs, kept_sessions

ID = "0a" * 28


def log(folder: Path, pid: int, text: str, job: str = "01000000", end: str = "err") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"worker-{ID}-{job}-{pid}.{end}"
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
    return path


def test_a_line_has_the_name_of_who_printed_it(tmp_path: Path) -> None:
    log(tmp_path, 7, ":job_id:01000000\n:actor_name:Generator\nloading\nready\n:task_name:shuffle\nrows\n")
    log(tmp_path, 8, "nobody said who\n")
    log(tmp_path, 9, ":actor_name:Other\nof another job\n", job="02000000")
    assert list(WorkerLogs(tmp_path, "01000000").lines()) == [
        LogLine("Generator", 7, "loading"),
        LogLine("Generator", 7, "ready"),
        LogLine("shuffle", 7, "rows"),
        LogLine("worker", 8, "nobody said who"),
    ]


def test_reading_goes_on_where_it_was(tmp_path: Path) -> None:
    reader = WorkerLogs(tmp_path)
    log(tmp_path, 7, ":actor_name:Judge\none\ntw")
    assert [line.text for line in reader.lines()] == ["one"]
    log(tmp_path, 7, "o\nthree")
    log(tmp_path, 8, "new\n")
    assert [line.text for line in reader.lines()] == ["two", "new"]
    assert list(reader.lines(last=True)) == [LogLine("Judge", 7, "three")]
    assert list(reader.lines(last=True)) == []


def test_bytes_that_are_no_text_are_shown(tmp_path: Path) -> None:
    log(tmp_path, 7, "").write_bytes(b"\xff\xfe x\n")
    [line] = WorkerLogs(tmp_path).lines()
    assert line.text.endswith(" x")


def test_kept_logs_are_private_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logs, "MOST_OF_FILE", 100)
    monkeypatch.setattr(worker_logs, "HEAD", 30)
    monkeypatch.setattr(worker_logs, "MOST_IN_ALL", 300)
    source, run = tmp_path / "ray", tmp_path / "run"
    for pid in range(5):
        path = log(source, pid, f":actor_name:A{pid}\n" + "x" * 200 + f"\nend {pid}\n")
        os.utime(path, (1000 + pid, 1000 + pid))
    log(source, 9, "")
    (source / "gcs_server.out").write_text("no worker")
    with private_files():
        keep_logs(source, None, run / "logs")
    [session] = kept_sessions(run / "logs")
    kept = sorted(session.iterdir())
    # The two that changed last; each has its beginning and its end.
    assert [path.name.rsplit("-", 1)[1] for path in kept] == ["3.err", "4.err"]
    assert sum(path.stat().st_size for path in kept) <= 300
    text = kept[1].read_text()
    assert text.startswith(":actor_name:A4\n") and "bytes are left out here" in text and text.endswith("end 4\n")
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert stat.S_IMODE(session.stat().st_mode) == 0o700


def test_the_newest_sessions_stay(tmp_path: Path) -> None:
    source = tmp_path / "ray"
    for number in range(5):
        log(source, 7, f"session {number}\n")
        keep_logs(source, "01000000", tmp_path / "logs")
    assert [path.name for path in kept_sessions(tmp_path / "logs")] == ["3", "4", "5"]


def test_nothing_printed_keeps_nothing(tmp_path: Path) -> None:
    log(tmp_path / "ray", 7, "")
    keep_logs(tmp_path / "ray", None, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
