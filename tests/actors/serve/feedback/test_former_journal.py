"""A journal of an earlier version, Parquet files in a folder: read as it is, and taken over once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.serve.feedback.journal import DATABASE, Journal, read
from actors.serve.feedback.records import CAPTURES, FEEDBACK, JournalKind
from tests.actors.serve.feedback.given import NOON, captured, said


def file(folder: Path, number: int, *items: Record, kind: JournalKind = FEEDBACK, generation: int = 0) -> Path:
    """A file as an earlier version wrote it."""
    path = folder / f"{number:020d}-{generation:04d}-{number:08x}.parquet"
    write_table(pa.Table.from_pylist([item.model_dump() for item in items], schema=kind.schema), path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Words on two answers: one came twice, and its first word is also in the file that was merged from it."""
    file(tmp_path, 1, said("a", "up"), said("b", "up"))
    file(tmp_path, 1, said("a", "up"), said("b", "up"), generation=1)
    file(tmp_path, 2, said("a", "down", minutes=2), said("a", "up", caller="other"))
    return tmp_path


ROWS = [("b", "ward", "up"), ("a", "ward", "down"), ("a", "other", "up")]


def rows(folder: Path) -> list[tuple[str, str, str]]:
    return [(row["answer_id"], row["caller"], row["verdict"]) for row in read(folder, FEEDBACK).to_pylist()]


def test_a_reader_reads_it_as_it_is_and_leaves_it(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert rows(folder) == ROWS
    assert read(folder, FEEDBACK, ("caller",), since=NOON.replace(minute=2)).to_pydict() == {"caller": ["ward"]}
    assert sorted(folder.iterdir()) == before


def test_a_writer_takes_it_over_once_with_the_same_rows_in_the_same_order(folder: Path) -> None:
    before = read(folder, FEEDBACK)
    (folder / ".00000000000000000003-0000-00000003.parquet.abcdef01.tmp").write_bytes(b"half of a secret")
    (folder / "note.txt").write_text("not a journal's")
    for _ in range(2):
        with closing(Journal(folder, FEEDBACK)):
            assert {path.name for path in folder.iterdir() if DATABASE not in path.name} == {"note.txt"}
            assert read(folder, FEEDBACK) == before
    with closing(Journal(folder, FEEDBACK)) as journal:
        journal.append([said("b", "down", minutes=3)])
    assert rows(folder) == [*ROWS[1:], ("b", "ward", "down")]


class Killed(BaseException):
    """Ends what a kill would end."""


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_one_that_is_killed_half_way_takes_nothing_over_twice(
    folder: Path, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = Path.unlink, 0

    def unlink(path: Path, missing_ok: bool = False) -> None:
        nonlocal removed
        if removed == kept:
            raise Killed
        removed += 1
        # The names may go from the disk in any order; the first word is the one that must not come back.
        real(sorted(folder.glob("*.parquet"))[-1])

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(Killed):
            Journal(folder, FEEDBACK)
    assert len(list(folder.glob("*.parquet"))) == 3 - kept
    assert rows(folder) == ROWS
    with closing(Journal(folder, FEEDBACK)):
        assert not list(folder.glob("*.parquet")) and rows(folder) == ROWS


def test_one_that_is_killed_before_the_rows_are_in_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(journal: Journal, table: pa.Table) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_insert", killed)
        with pytest.raises(Killed):
            Journal(folder, FEEDBACK)
    assert len(list(folder.glob("*.parquet"))) == 3 and rows(folder) == ROWS


def test_what_an_earlier_version_wrote_since_comes_after(folder: Path) -> None:
    with closing(Journal(folder, FEEDBACK)) as journal:
        journal.append([said("c", "up")])
    file(folder, 9, said("b", "down", minutes=9))
    later = [*ROWS[1:], ("c", "ward", "up"), ("b", "ward", "down")]
    assert rows(folder) == later
    with closing(Journal(folder, FEEDBACK)):
        assert rows(folder) == later


def test_of_what_has_expired_no_file_stays(tmp_path: Path) -> None:
    file(tmp_path, 1, captured("a", answer="secret"), kind=CAPTURES)
    with closing(Journal(tmp_path, CAPTURES)) as journal:
        assert journal.expire(NOON.replace(hour=13))
        assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_damaged_file_is_a_sentence_and_nothing_is_taken_over(folder: Path) -> None:
    damaged = file(folder, 3, said("c", "up"))
    damaged.write_bytes(b"no parquet")
    for use in (lambda: Journal(folder, FEEDBACK), lambda: read(folder, FEEDBACK)):
        with pytest.raises(SalusError, match=r"is no file of a journal of feedback .*take it from a copy"):
            use()
    damaged.unlink()
    assert len(list(folder.glob("*.parquet"))) == 3 and rows(folder) == ROWS
