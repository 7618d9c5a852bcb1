"""The journal: what was acknowledged is there, once, whoever writes, merges, reads or is killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.errors import SalusError
from actors.serve.feedback.journal import Journal, JournalWriter, compact, list_files, read
from actors.serve.feedback.records import CAPTURES, FEEDBACK
from tests.actors.serve.feedback.given import NOON, captured, said
from tests.root import ROOT


def ids(folder: Path) -> list[str]:
    return [str(value) for value in read(folder, CAPTURES)["answer_id"].to_pylist()]


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", CAPTURES)
    assert ids(tmp_path / "j") == []
    journal.append([captured("a"), captured("b", before=())])
    journal.append([])
    journal.append([captured("c")])
    assert ids(tmp_path / "j") == ["a", "b", "c"]
    table = read(tmp_path / "j", CAPTURES)
    assert table.schema == CAPTURES.schema
    assert table.slice(0, 1).to_pylist() == [captured("a").model_dump()]


def test_the_last_word_counts(tmp_path: Path) -> None:
    journal = Journal(tmp_path, FEEDBACK)
    journal.append([said("a", "up"), said("b", "up")])
    journal.append([said("a", "down", minutes=2), said("a", "up", caller="other")])
    rows = read(tmp_path, FEEDBACK).to_pylist()
    assert [(row["answer_id"], row["caller"], row["verdict"]) for row in rows] == [
        ("b", "ward", "up"),
        ("a", "ward", "down"),
        ("a", "other", "up"),
    ]


def test_names_of_several_writers_neither_clash_nor_go_back(tmp_path: Path) -> None:
    writers = [Journal(tmp_path, CAPTURES) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda w=w, j=j: [j.append([captured(f"{w}-{i}")]) for i in range(25)])
        for w, j in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids(tmp_path)) == sorted(f"{w}-{i}" for w in range(4) for i in range(25))
    of_one = [name for name in ids(tmp_path) if name.startswith("2-")]
    assert of_one == [f"2-{i}" for i in range(25)]
    # A clock that was set back puts nothing before what is there.
    ahead = tmp_path / f"{time.time_ns() + 10**15:020d}-0000-00000000.parquet"
    list_files(tmp_path)[-1].rename(ahead)
    Journal(tmp_path, CAPTURES).append([captured("newest")])
    assert ids(tmp_path)[-1] == "newest"


def test_temporary_and_other_files_are_no_part_of_it(tmp_path: Path) -> None:
    Journal(tmp_path, CAPTURES).append([captured("a")])
    (tmp_path / ".00000000000000000001-0000-abcdef01.parquet.tmp").write_bytes(b"half")
    (tmp_path / "note.txt").write_text("not a journal's")
    assert ids(tmp_path) == ["a"]


def test_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    Journal(tmp_path, CAPTURES).append([captured("a")])
    list_files(tmp_path)[0].write_bytes(b"no parquet")
    with pytest.raises(SalusError, match=r"is no file of a journal of captures .*take it from a copy"):
        read(tmp_path, CAPTURES)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SalusError, match="cannot be written"):
        Journal(tmp_path / "file" / "below", CAPTURES)


def test_compaction_keeps_every_item_and_the_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path, CAPTURES)
    for i in range(30):
        journal.append([captured(f"{i}"), captured("again", answer=f"answer {i}")])
    before = read(tmp_path, CAPTURES)
    done = compact(tmp_path, CAPTURES)
    assert (done.files_before, done.files_after, done.expired) == (30, 1, 0)
    assert len(list_files(tmp_path)) == 1 and read(tmp_path, CAPTURES) == before
    journal.append([captured("later")])
    compact(tmp_path, CAPTURES)
    assert ids(tmp_path)[-1] == "later" and len(list_files(tmp_path)) == 1


def test_full_files_are_left_and_a_later_word_stays_the_later_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path, FEEDBACK)
    journal.append([said("x", "down")])
    journal.append([said(f"{i}", "up") for i in range(9)] + [said("x", "up", minutes=2)])
    journal.append([said("y", "down", minutes=3)])
    compact(tmp_path, FEEDBACK, full_rows=8)
    full, _ = list_files(tmp_path)
    compact(tmp_path, FEEDBACK, full_rows=8)
    assert list_files(tmp_path)[0] == full
    rows = {row["answer_id"]: row["verdict"] for row in read(tmp_path, FEEDBACK).to_pylist()}
    assert rows["x"] == "up" and rows["y"] == "down" and len(rows) == 11


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    journal = Journal(tmp_path, CAPTURES)
    journal.append([captured("old", at=NOON - timedelta(days=2)), captured("new")])
    journal.append([captured("older", at=NOON - timedelta(days=3))])
    done = compact(tmp_path, CAPTURES, keep_from=NOON - timedelta(days=1))
    assert done.expired == 2 and ids(tmp_path) == ["new"]
    assert compact(tmp_path, CAPTURES, keep_from=NOON + timedelta(days=1)).files_after == 0
    assert ids(tmp_path) == [] and list_files(tmp_path) == []


def test_a_process_that_died_before_it_removed_what_it_merged_left_nothing_double(tmp_path: Path) -> None:
    journal = Journal(tmp_path, FEEDBACK)
    for verdict in ("up", "down", "up"):
        journal.append([said("a", verdict), said(f"only {verdict}", "up")])
    merged = {file.name: file.read_bytes() for file in list_files(tmp_path)}
    before = read(tmp_path, FEEDBACK)
    compact(tmp_path, FEEDBACK)
    for name, content in merged.items():
        (tmp_path / name).write_bytes(content)
    assert len(list_files(tmp_path)) == 4
    assert sorted(map(str, read(tmp_path, FEEDBACK).to_pylist())) == sorted(map(str, before.to_pylist()))


def test_a_reader_misses_nothing_while_files_are_merged(tmp_path: Path) -> None:
    journal = Journal(tmp_path, CAPTURES)
    known: list[str] = []
    over = threading.Event()

    def write_and_merge() -> None:
        for i in range(60):
            journal.append([captured(f"{i}")])
            known.append(f"{i}")
            if i % 5 == 4:
                compact(tmp_path, CAPTURES)
        over.set()

    thread = threading.Thread(target=write_and_merge)
    thread.start()
    while not over.is_set():
        acknowledged = list(known)
        found = ids(tmp_path)
        assert set(acknowledged) <= set(found) and len(found) == len(set(found))
    thread.join()


def test_many_appends_become_few_files_and_each_is_acknowledged(tmp_path: Path) -> None:
    async def give() -> float:
        writer = JournalWriter(Journal(tmp_path, CAPTURES), gather_s=0.005)
        start = time.perf_counter()
        await asyncio.gather(*(writer.append(captured(f"{i}")) for i in range(500)))
        return time.perf_counter() - start

    assert asyncio.run(give()) < 2.0
    assert len(ids(tmp_path)) == 500 and len(list_files(tmp_path)) <= 3


def test_a_fault_reaches_everybody_who_waits_and_the_next_ones_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "j"

    async def give() -> list[object]:
        writer = JournalWriter(Journal(folder, CAPTURES), gather_s=0.0)
        folder.rename(tmp_path / "away")
        folder.touch()
        lost = await asyncio.gather(*(writer.append(captured(f"{i}")) for i in range(3)), return_exceptions=True)
        folder.unlink()
        (tmp_path / "away").rename(folder)
        await writer.append(captured("kept"))
        return list(lost)

    assert [type(error) for error in asyncio.run(give())] == [SalusError] * 3
    assert ids(folder) == ["kept"]


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_kill_at_any_moment(tmp_path: Path) -> None:
    draw = random.Random(5)
    acknowledged: set[str] = set()
    for session in range(2):
        command = [sys.executable, "-m", "tests.actors.serve.feedback.killed_appender", str(tmp_path), f"s{session}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(draw.uniform(0.0, 0.4))
            process.kill()
            lines = (first + process.stdout.read()).splitlines(keepends=True)
        acknowledged |= {line.strip() for line in lines if line.endswith("\n")}
        found = ids(tmp_path)
        assert acknowledged <= set(found) and len(found) == len(set(found))
    assert len(acknowledged) > 50
    # What the next one finds it can go on with.
    compact(tmp_path, CAPTURES)
    assert acknowledged <= set(ids(tmp_path))
    assert all(pq.read_metadata(file).num_rows for file in list_files(tmp_path))
