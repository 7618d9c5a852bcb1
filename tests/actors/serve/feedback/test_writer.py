"""The writer: one writer of a folder, which knows after a restart what it knew before."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
import ray

from actors.errors import SalusError
from actors.files.shards import write_table
from actors.serve.feedback import journal
from actors.serve.feedback.actor import FeedbackWriterActor, RemoteSink
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import DATABASE, read
from actors.serve.feedback.records import CAPTURES, FEEDBACK
from actors.serve.feedback.sink import AnotherCallers, KnownAnswer, OverQuota
from actors.serve.feedback.writer import FeedbackWriter
from tests.actors.serve.feedback.given import NOON, captured, said
from tests.gone import wait_until_fails

CONFIG = FeedbackConfig(gather_s=0.0, retention_days=30)


def writer(folder: Path, days_later: int = 0) -> FeedbackWriter:
    return FeedbackWriter(folder, CONFIG, lambda: NOON + timedelta(days=days_later), lock_wait_s=0.0)


def test_a_second_writer_of_a_folder_is_refused_and_a_next_one_knows_everything(tmp_path: Path) -> None:
    async def first() -> None:
        one = writer(tmp_path)
        await one.captured(captured("a"))
        await one.feedback(said("a", "up"))
        with pytest.raises(SalusError, match="Another process keeps feedback"):
            writer(tmp_path)
        await one.close()

    async def second() -> tuple[KnownAnswer | None, KnownAnswer | None]:
        other = writer(tmp_path)
        found = await other.known("a"), await other.known("b")
        await other.close()
        return found

    asyncio.run(first())
    assert asyncio.run(second()) == (KnownAnswer(caller="ward", policy="c1-dpo"), None)


def test_an_answers_id_is_its_first_callers_for_good(tmp_path: Path) -> None:
    async def give() -> None:
        one = writer(tmp_path)
        await one.captured(captured("a", answer="Yes.", caller="ward"))
        # Known already; and while the first one is still being written.
        with pytest.raises(AnotherCallers, match="another caller's"):
            await one.captured(captured("a", answer="No.", caller="mallory"))
        both = (one.captured(captured("b", caller=caller)) for caller in ("ward", "mallory"))
        first, second = await asyncio.gather(*both, return_exceptions=True)
        assert first is None and isinstance(second, AnotherCallers)
        # The same again, as Ray hands it over where the writer died, and another one under its id: nothing changes.
        await one.captured(captured("a", answer="Yes.", caller="ward"))
        await one.captured(captured("a", answer="No.", caller="ward", origin="supplied"))
        await one.close()

    asyncio.run(give())
    kept = read(tmp_path / CAPTURES.name, CAPTURES).sort_by("answer_id").to_pylist()
    assert [(row["answer_id"], row["answer"], row["caller"], row["origin"]) for row in kept] == [
        ("a", "Yes.", "ward", "captured"),
        ("b", "In the fridge.", "ward", "captured"),
    ]


def test_no_caller_has_more_kept_a_day_than_it_may(tmp_path: Path) -> None:
    limited = CONFIG.model_copy(update={"bytes_per_day": 2000})

    async def give(days_later: int, caller: str) -> int:
        one = FeedbackWriter(tmp_path, limited, lambda: NOON + timedelta(days=days_later), lock_wait_s=0.0)
        kept = 0
        try:
            while kept < 20:
                await one.captured(captured(uuid4().hex, caller=caller, at=NOON + timedelta(days=days_later)))
                kept += 1
        except OverQuota as over:
            assert f"The key {caller} may have 2000 bytes" in over.sentence
            with pytest.raises(OverQuota):
                await one.feedback(said("x", "corrected", "y" * 2000, caller=caller))
        finally:
            await one.close()
        return kept

    first = asyncio.run(give(0, "ward"))
    assert 2 < first < 12
    # A writer that starts anew counts what is there of today; another caller and another day have their own.
    assert asyncio.run(give(0, "ward")) <= first // 2
    assert asyncio.run(give(0, "other")) == first
    assert asyncio.run(give(1, "ward")) == first


def test_what_has_expired_goes_once_a_day_while_a_writer_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = 0

    async def give() -> list[str]:
        nonlocal days
        one = FeedbackWriter(tmp_path, CONFIG, lambda: NOON + timedelta(days=days), lock_wait_s=0.0)
        await one.captured(captured("a", answer="secret"))
        days = 31
        await one.captured(captured("b", at=NOON + timedelta(days=31)))
        # It was looked at when the writer started.
        assert read(tmp_path / CAPTURES.name, CAPTURES).num_rows == 2
        later = time.monotonic() + 86_401
        monkeypatch.setattr(journal, "time", SimpleNamespace(monotonic=lambda: later))
        await one.feedback(said("b", "up", minutes=31 * 24 * 60))
        await one.close()
        return [str(each) for each in read(tmp_path / CAPTURES.name, CAPTURES)["answer_id"].to_pylist()]

    assert asyncio.run(give()) == ["b"]
    assert b"secret" not in (tmp_path / CAPTURES.name / DATABASE).read_bytes()


def test_a_writer_starts_with_the_journals_of_an_earlier_version(tmp_path: Path) -> None:
    name = "00000000000000000001-0000-00000001.parquet"
    table = pa.Table.from_pylist([captured("a").model_dump()], schema=CAPTURES.schema)
    write_table(table, tmp_path / CAPTURES.name / name)

    async def give() -> KnownAnswer | None:
        one = writer(tmp_path)
        try:
            return await one.known("a")
        finally:
            await one.close()

    assert asyncio.run(give()) == KnownAnswer(caller="ward", policy="c1-dpo")


def test_what_has_expired_is_forgotten_when_a_writer_starts(tmp_path: Path) -> None:
    async def give(days_later: int) -> KnownAnswer | None:
        one = writer(tmp_path, days_later)
        if not days_later:
            await one.captured(captured("a"))
        found = await one.known("a")
        await one.close()
        return found

    assert asyncio.run(give(0)) is not None
    assert asyncio.run(give(31)) is None
    assert read(tmp_path / CAPTURES.name, CAPTURES).num_rows == 0


def test_a_folder_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SalusError, match="cannot be used"):
        writer(tmp_path / "file")


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_writer_comes_back_with_what_it_acknowledged(ray_session: None, tmp_path: Path) -> None:
    actor: Any = FeedbackWriterActor.remote(tmp_path, FeedbackConfig())
    sink = RemoteSink(actor, timeout_s=60.0)

    async def give() -> KnownAnswer | None:
        await asyncio.gather(*(sink.captured(captured(f"{i}")) for i in range(100)))
        ray.kill(actor, no_restart=False)
        await sink.feedback(said("7", "down"))
        return await sink.known("99")

    assert asyncio.run(give()) == KnownAnswer(caller="ward", policy="c1-dpo")
    assert read(tmp_path / CAPTURES.name, CAPTURES).num_rows == 100
    assert read(tmp_path / FEEDBACK.name, FEEDBACK)["answer_id"].to_pylist() == ["7"]
    ray.kill(actor)
    gone = wait_until_fails(lambda: asyncio.run(sink.known("1")), SalusError)
    assert "The feedback writer does not answer" in gone.sentence
