"""The journal: what was acknowledged is there, once, for every reader; what was removed is on the disk no more."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files import sqlite
from actors.files.full_disk import FullDiskError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import DATABASE, Journal, JournalWriter, Retention, read
from actors.serve.feedback.records import CAPTURES, FEEDBACK, CapturedAnswer
from tests.actors.serve.feedback.given import NOON, captured, said
from tests.root import ROOT
from tests.small_disk import fill, small_disk

DAY = timedelta(days=1)


def ids(folder: Path) -> list[str]:
    return [str(value) for value in read(folder, CAPTURES)["answer_id"].to_pylist()]


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@contextmanager
def captures(folder: Path) -> Iterator[Journal]:
    with closing(Journal(folder, CAPTURES)) as journal:
        yield journal


def run_beside(program: str, *arguments: object) -> str:
    """What a Python program in a process of its own prints."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


READER = """
import sys
from pathlib import Path
from actors.serve.feedback.journal import read
from actors.serve.feedback.records import CAPTURES
print(*read(Path(sys.argv[1]), CAPTURES)["answer_id"].to_pylist())
"""


# -- what is kept


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    assert ids(tmp_path / "j") == []
    with captures(tmp_path / "j") as journal:
        assert ids(tmp_path / "j") == []
        journal.append([captured("a"), captured("b", before=())])
        journal.append([])
        journal.append([captured("c")])
    assert ids(tmp_path / "j") == ["a", "b", "c"]
    table = read(tmp_path / "j", CAPTURES)
    assert table.schema == CAPTURES.schema
    assert table.slice(0, 1).to_pylist() == [captured("a").model_dump()]


def test_columns_and_a_first_moment_can_be_chosen(tmp_path: Path) -> None:
    with captures(tmp_path) as journal:
        journal.append([captured("old", at=NOON - DAY), captured("at noon"), captured("new", at=NOON + DAY)])
    found = read(tmp_path, CAPTURES, ("caller", "answer_id"), since=NOON)
    assert found.to_pydict() == {"caller": ["ward", "ward"], "answer_id": ["at noon", "new"]}


def test_the_last_word_counts(tmp_path: Path) -> None:
    with closing(Journal(tmp_path, FEEDBACK)) as journal:
        journal.append([said("a", "up"), said("b", "up")])
        journal.append([said("a", "down", minutes=2), said("a", "up", caller="other")])
    rows = read(tmp_path, FEEDBACK).to_pylist()
    assert [(row["answer_id"], row["caller"], row["verdict"]) for row in rows] == [
        ("b", "ward", "up"),
        ("a", "ward", "down"),
        ("a", "other", "up"),
    ]


@pytest.mark.parametrize("text", ["'); DROP TABLE captures; --", '"', "a\x00b", "\u202e\U0001f48a?1 :name", ""])
def test_a_text_is_a_text_whatever_it_holds(tmp_path: Path, text: str) -> None:
    with captures(tmp_path) as journal:
        journal.append([captured("a", prompt=text, answer=text, caller=text)])
        journal.append([captured("b")])
    first, _ = read(tmp_path, CAPTURES).to_pylist()
    assert first == captured("a", prompt=text, answer=text, caller=text).model_dump()


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "50% of? #1&mode=memory"
    with captures(folder) as journal:
        journal.append([captured("a")])
    assert ids(folder) == ["a"] and (folder / DATABASE).is_file()


def test_items_are_written_all_or_none(tmp_path: Path) -> None:
    class Bare(Record):
        """An item that lacks what it must have."""

        answer_id: str

    with captures(tmp_path) as journal:
        with pytest.raises(SalusError, match=r"cannot be written \(NOT NULL"):
            journal.append([captured("a"), Bare(answer_id="b")])
        journal.append([captured("c")])
    assert ids(tmp_path) == ["c"]


# -- who reads meanwhile


def test_another_process_reads_while_the_writer_lives_and_after_it_was_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from actors.serve.feedback.journal import Journal;"
        "from actors.serve.feedback.records import CAPTURES; from tests.actors.serve.feedback.given import captured;"
        "Journal(Path(sys.argv[1]), CAPTURES).append([captured('a'), captured('b')]); os._exit(0)"
    )
    with captures(tmp_path) as journal:
        journal.append([captured("x")])
        assert run_beside(READER, tmp_path).split() == ["x"]
    run_beside(program, tmp_path / "killed")
    assert (tmp_path / "killed" / f"{DATABASE}-wal").stat().st_size
    assert run_beside(READER, tmp_path / "killed").split() == ["a", "b"]
    # The reader took nothing from the next writer.
    with captures(tmp_path / "killed") as journal:
        journal.append([captured("c")])
    assert ids(tmp_path / "killed") == ["a", "b", "c"]


def test_a_reader_sees_one_moment_whatever_is_written_and_removed_meanwhile(tmp_path: Path) -> None:
    acknowledged: list[str] = []
    over = threading.Event()

    def write_and_expire(journal: Journal) -> None:
        for i in range(100):
            journal.append([captured(f"{i}"), captured(f"old {i}", at=NOON - DAY)])
            acknowledged.append(f"{i}")
            if i % 5 == 4:
                journal.expire(NOON)
        over.set()

    with captures(tmp_path) as journal:
        thread = threading.Thread(target=write_and_expire, args=(journal,))
        thread.start()
        while not over.is_set():
            known = list(acknowledged)
            found = [each for each in ids(tmp_path) if not each.startswith("old")]
            assert found[: len(known)] == known and found == [f"{i}" for i in range(len(found))]
        thread.join()


def test_a_copy_that_nobody_may_write_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with captures(tmp_path / "j") as journal:
        journal.append([captured("a")])
    assert sorted(path.name for path in (tmp_path / "j").iterdir()) == [DATABASE]
    # Root may write anywhere, so that no mode keeps it from it.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (tmp_path / "j").chmod(0o500)
    assert ids(tmp_path / "j") == ["a"]
    assert sorted(path.name for path in (tmp_path / "j").iterdir()) == [DATABASE]
    (tmp_path / "j").chmod(0o700)


# -- who may look


def test_files_are_their_users_alone_from_the_first_moment_whatever_the_umask(tmp_path: Path) -> None:
    seen: set[tuple[str, int]] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in (tmp_path / "j", *(tmp_path / "j").glob("*")):
                # It may be gone by now.
                with suppress(FileNotFoundError):
                    seen.add((path.name, stat.S_IMODE(path.lstat().st_mode)))

    former = os.umask(0)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with captures(tmp_path / "j") as journal:
            for i in range(50):
                journal.append([captured(f"{i}")])
            time.sleep(0.05)
    finally:
        over.set()
        thread.join()
        os.umask(former)
    assert {name for name, _ in seen} >= {"j", DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
    assert {mode for name, mode in seen if name != "j"} == {0o600}
    assert {mode for name, mode in seen if name == "j"} == {0o700}


def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    (tmp_path / "j").chmod(0o755)
    with captures(tmp_path / "j"):
        assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o700


# -- what goes


def test_of_what_is_too_old_or_replaced_no_byte_stays_on_the_disk(tmp_path: Path) -> None:
    draw = random.Random(3)
    # Short rows, most of which are replaced: the others move from page to page, and that leaves copies of them.
    texts = {
        f"{day}-{i}": f"secret{draw.getrandbits(64):x} " * draw.choice((1, 2, 3, 5, 8))
        for day in range(10)
        for i in range(200)
    }

    def of(day: int) -> list[CapturedAnswer]:
        return [
            captured(name, answer=text, at=NOON + day * DAY)
            for name, text in texts.items()
            if name.startswith(f"{day}-")
        ]

    with captures(tmp_path) as journal:
        for day in range(10):
            answers = of(day)
            for i in range(0, len(answers), 20):
                journal.append(answers[i : i + 20])
        replaced = [captured(name, answer="said again", at=NOON + 9 * DAY) for name in texts if int(name[2:]) % 4]
        journal.append(replaced)
        again = {each.answer_id for each in replaced}
        for day in range(1, 10):
            assert journal.expire(NOON + day * DAY)
            bytes_ = on_disk(tmp_path)
            kept = {name for name in texts if int(name.split("-")[0]) >= day and name not in again}
            # The first word of each text is in no other one.
            assert {name for name, text in texts.items() if text.split()[0].encode() in bytes_} == kept
            assert set(ids(tmp_path)) == kept | again
        assert journal.expire(NOON + 10 * DAY)
        assert ids(tmp_path) == [] and b"secret" not in on_disk(tmp_path)


def test_nothing_is_rewritten_where_nothing_goes(tmp_path: Path) -> None:
    with captures(tmp_path) as journal:
        journal.append([captured(f"{i}") for i in range(50)])
        journal.expire(NOON)
        before = (tmp_path / DATABASE).read_bytes()
        assert journal.expire(NOON - DAY) and journal.expire(None)
        assert (tmp_path / DATABASE).read_bytes() == before


def test_what_a_reader_still_needs_goes_when_it_has_ended(tmp_path: Path) -> None:
    with captures(tmp_path) as journal:
        journal.append([captured("old", answer="secret", at=NOON - 40 * DAY), captured("new")])
        retention = Retention([journal], FeedbackConfig(retention_days=30), lambda: NOON)
        with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM captures").fetchone()
            assert not journal.expire(NOON - 30 * DAY)
            assert b"secret" in on_disk(tmp_path) and ids(tmp_path) == ["new"]
        retention.expire()
        assert b"secret" not in on_disk(tmp_path) and not retention.due


# -- what fails


def test_a_damaged_a_foreign_and_another_journal_are_each_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / DATABASE).write_bytes(b"no database, but long enough to be taken for one" * 100)
    (tmp_path / "foreign").mkdir()
    with closing(sqlite3.connect(tmp_path / "foreign" / DATABASE)) as other:
        other.execute("CREATE TABLE captures (answer_id TEXT)")
    with closing(Journal(tmp_path / "another", FEEDBACK)) as journal:
        journal.append([said("a", "up")])
    said_of = {
        "damaged": r"is damaged, or not a journal of captures \(file is not a database\); take it from a copy",
        "foreign": "is a database of another program; move it away",
        "another": "is a journal, but not one of captures",
    }
    for name, words in said_of.items():
        before = (tmp_path / name / DATABASE).read_bytes()
        with pytest.raises(SalusError, match=words):
            Journal(tmp_path / name, CAPTURES)
        with pytest.raises(SalusError, match=words):
            read(tmp_path / name, CAPTURES)
        assert (tmp_path / name / DATABASE).read_bytes() == before


def test_a_torn_page_is_a_sentence(tmp_path: Path) -> None:
    with captures(tmp_path) as journal:
        journal.append([captured(f"{i}", answer="x" * 900) for i in range(200)])
    content = bytearray((tmp_path / DATABASE).read_bytes())
    content[32768:] = os.urandom(len(content) - 32768)
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(SalusError, match="is damaged, or not a journal of captures"):
        read(tmp_path, CAPTURES)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SalusError, match=r"cannot be written \(Not a directory\)"):
        Journal(tmp_path / "file" / "below", CAPTURES)


def test_a_full_disk_is_its_sentence_and_the_next_ones_are_kept(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", kib=512) as disk, captures(disk / "j") as journal:
        journal.append([captured("a")])
        fill(disk / "ballast")
        for _ in range(2):
            with pytest.raises(FullDiskError, match=r"The disk of .* is full"):
                journal.append([captured("b", answer="x" * 400_000)])
        assert ids(disk / "j") == ["a"]
        (disk / "ballast").unlink()
        journal.append([captured("c")])
        assert ids(disk / "j") == ["a", "c"]


def test_a_fault_reaches_everybody_who_waits_and_the_next_ones_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "j"

    async def give() -> Sequence[object]:
        writer = JournalWriter(Journal(folder, CAPTURES), gather_s=0.0)
        # What was written now would be in a file that is to be found nowhere.
        folder.rename(tmp_path / "away")
        lost = await asyncio.gather(*(writer.append(captured(f"{i}")) for i in range(3)), return_exceptions=True)
        (tmp_path / "away").rename(folder)
        await writer.append(captured("kept"))
        await writer.close()
        return lost

    lost = asyncio.run(give())
    assert [type(error) for error in lost] == [SalusError] * 3
    assert "was moved or replaced while it was open; start the endpoint again" in str(lost[0])
    assert ids(folder) == ["kept"]


def test_a_writer_that_is_closed_first_writes_what_waits(tmp_path: Path) -> None:
    async def give() -> None:
        writer = JournalWriter(Journal(tmp_path, CAPTURES), gather_s=0.05)
        waiting = [asyncio.create_task(writer.append(captured(f"{i}"))) for i in range(20)]
        await asyncio.sleep(0)
        await writer.close()
        await asyncio.gather(*waiting)

    asyncio.run(give())
    assert len(ids(tmp_path)) == 20


def test_many_appends_share_a_transaction_and_each_is_acknowledged(tmp_path: Path) -> None:
    async def give() -> int:
        journal = Journal(tmp_path, CAPTURES)
        writer = JournalWriter(journal, gather_s=0.005)
        real, transactions = journal.append, []

        def counted(items: Sequence[Record]) -> None:
            transactions.append(len(items))
            real(items)

        journal.append = counted  # type: ignore[method-assign]
        await asyncio.gather(*(writer.append(captured(f"{i}")) for i in range(500)))
        await writer.close()
        return len(transactions)

    assert asyncio.run(give()) <= 3
    assert len(ids(tmp_path)) == 500


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_kill_at_any_moment(tmp_path: Path) -> None:
    draw = random.Random(5)
    acknowledged: set[str] = set()
    for session in range(3):
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
    with captures(tmp_path) as journal:
        assert journal.expire(NOON) and acknowledged <= set(ids(tmp_path))


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_of_a_log_that_a_power_cut_tore_the_whole_transactions_are_there(tmp_path: Path, cut: int) -> None:
    sizes = []
    with captures(tmp_path / "j") as journal:
        log = tmp_path / "j" / f"{DATABASE}-wal"
        for i in range(10):
            journal.append([captured(f"{i}-a"), captured(f"{i}-b")])
            sizes.append(log.stat().st_size)
        shutil.copytree(tmp_path / "j", tmp_path / "copy", ignore=shutil.ignore_patterns("*-shm"))
    torn = tmp_path / "copy" / log.name
    left = sizes[0] + (sizes[-1] - sizes[0]) * cut // 100
    os.truncate(torn, left)
    whole = [f"{i}-{each}" for i, size in enumerate(sizes) if size <= left for each in "ab"]
    assert ids(tmp_path / "copy") == whole
    with captures(tmp_path / "copy") as journal:
        journal.append([captured("after")])
    assert ids(tmp_path / "copy") == [*whole, "after"]


# -- a file system that shares no memory


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "shares_memory", lambda folder: False)


def test_where_no_memory_is_shared_a_journal_does_without(tmp_path: Path, elsewhere: None) -> None:
    with captures(tmp_path) as journal:
        journal.append([captured("old", answer="secret", at=NOON - DAY), captured("new")])
        assert sorted(path.name for path in tmp_path.iterdir()) == [DATABASE]
        assert run_beside(READER, tmp_path).split() == ["old", "new"]
        assert journal.expire(NOON)
        assert ids(tmp_path) == ["new"] and b"secret" not in on_disk(tmp_path)
    assert stat.S_IMODE((tmp_path / DATABASE).stat().st_mode) == 0o600


def test_a_reader_undoes_there_what_a_killed_writer_left_half_way(tmp_path: Path, elsewhere: None) -> None:
    with captures(tmp_path) as journal:
        journal.append([captured("a", answer="x" * 100_000)])
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size=1'); c.execute('PRAGMA secure_delete=ON'); c.execute('BEGIN');"
        "c.execute('DELETE FROM captures'); c.execute('CREATE TABLE t (x)');"
        "c.executemany('INSERT INTO t VALUES (zeroblob(5000))', [()] * 200); os._exit(0)"
    )
    run_beside(program, tmp_path / DATABASE)
    assert (tmp_path / f"{DATABASE}-journal").is_file()
    assert ids(tmp_path) == ["a"]
