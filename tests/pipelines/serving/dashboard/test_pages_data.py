"""What is behind both pages: labels kept, answers handed out, a dashboard that any state of a run gives."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.pages.dashboard_data import Traffic
from pipelines.feedback.review.consensus import settle
from pipelines.feedback.review.queue import QueueConfig
from pipelines.feedback.review.stored import read_labels
from pipelines.serving.dashboard.pages_data import PagesData, PagesDataConfig
from tests.pipelines.feedback.review.answered import TORN, answered, write_judgments

TRAFFIC = Traffic(window_s=60, requests=120, requests_per_s=2, p50_s=0.1, p99_s=0.4, errors=1)


class Meter:
    async def traffic(self) -> Traffic | None:
        return TRAFFIC


@pytest.fixture
def judged(tmp_path: Path) -> RunFolder:
    rows = [answered(i, TORN, level=i % 4, disagreement=i / 10) for i in range(6)]
    return write_judgments(tmp_path / "run", 1, rows)


def pages_data(judged: RunFolder, tmp_path: Path, reviewers: int = 1) -> PagesData:
    config = PagesDataConfig(queue=QueueConfig(control_every=10), reviewers=reviewers)
    return PagesData(judged.root, tmp_path / "labels", config=config)


def test_a_labelled_answer_leaves_the_queue_for_everybody(judged: RunFolder, tmp_path: Path) -> None:
    async def review() -> None:
        pages = pages_data(judged, tmp_path)
        first, *rest = await pages.next(10, "alice")
        progress = await pages.label(first.key, "Refuse", "alice")
        assert (progress.remaining, progress.labelled) == (5, 1)
        assert await pages.next(10, "bob") == rest
        # Kept, also for one that starts anew.
        assert await pages_data(judged, tmp_path).next(10, "alice") == rest

    asyncio.run(review())
    assert list(settle(read_labels(tmp_path / "labels")).labels().values()) == ["Refuse"]


def test_a_page_is_told_what_it_shows(judged: RunFolder, tmp_path: Path) -> None:
    (item,) = asyncio.run(pages_data(judged, tmp_path).next(1, "alice"))
    assert (item.answer, item.level, item.judged) == ("answer 5", 1, "Accept")
    assert item.disagreement == pytest.approx(0.5)
    assert item.p is not None and list(item.p) == ["Accept", "Caution", "Refuse"]
    assert list(item.p.values()) == pytest.approx([0.34, 0.33, 0.33])
    assert item.why.startswith("The judges are apart by 0.50")


def test_several_reviewers_see_an_answer_until_they_agree(judged: RunFolder, tmp_path: Path) -> None:
    async def review() -> None:
        pages = pages_data(judged, tmp_path, reviewers=2)
        key = (await pages.next(1, "alice"))[0].key
        await pages.label(key, "Refuse", "alice")
        assert key not in {item.key for item in await pages.next(10, "alice")}
        tied = await pages.label(key, "Accept", "bob")
        assert tied.ties == 1 and key in {item.key for item in await pages.next(10, "carol")}
        agreed = await pages.label(key, "Accept", "carol")
        assert (agreed.ties, agreed.labelled) == (0, 1)
        assert key not in {item.key for item in await pages.next(10, "dora")}

    asyncio.run(review())


def test_undo_gives_the_answer_back(judged: RunFolder, tmp_path: Path) -> None:
    async def review() -> None:
        pages = pages_data(judged, tmp_path)
        first = (await pages.next(1, "alice"))[0]
        await pages.label(first.key, "Caution", "alice", "  it <b>warns</b> ")
        assert await pages.undo("bob") is None
        # With what she wrote beside it, which no other reviewer is handed.
        assert await pages.undo("alice") == first.model_copy(update={"comment": "it <b>warns</b>"})
        assert (await pages.next(1, "bob"))[0] == (await pages.next(1, "alice"))[0] == first
        assert await pages.undo("alice") is None
        assert (await pages.progress("alice")).remaining == 6
        await pages.label(first.key, "Caution", "alice")
        # The run was begun anew meanwhile.
        for shard in judged.judgments(1).glob("*"):
            shard.unlink()
        gone = await pages.undo("alice")
        assert gone is not None and (gone.key, gone.answer, gone.p) == (first.key, first.answer, None)

    asyncio.run(review())


def test_an_answer_that_is_not_in_the_queue_is_refused(judged: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="no longer in the queue"):
        asyncio.run(pages_data(judged, tmp_path).label("0" * 32, "Accept", "alice"))


def test_agreement_tells_a_reviewer_nothing_of_what_is_still_to_label(judged: RunFolder, tmp_path: Path) -> None:
    rows = [answered(i, TORN, level=i % 4) for i in range(24)]
    write_judgments(judged.root, 2, rows)

    async def review() -> None:
        pages = pages_data(judged, tmp_path, reviewers=3)
        items = await pages.next(30, "alice")
        for item in items[:21]:
            await pages.label(item.key, "Refuse", "bob")
            await pages.label(item.key, "Refuse", "carol")
        for number, item in enumerate(items[:21]):
            told = (await pages.progress("alice")).agreement
            # Ten by ten, so that no single label of another shows, and of her own answers alone.
            assert (told.n if told is not None else 0) == number // 10 * 10
            await pages.label(item.key, "Accept" if number == 0 else "Refuse", "alice")
        told = (await pages.progress("alice")).agreement
        assert told is not None and told.alpha is not None
        assert (told.n, told.share.value) == (20, 0.95) and told.alpha.value < 0.1
        # Of one mind, with one label alone: no chance agreement to measure against.
        of_bob = (await pages.progress("bob")).agreement
        assert of_bob is not None and of_bob.n == 20
        assert (await pages.progress("dora")).agreement is None

    asyncio.run(review())


def test_many_at_once_lose_nothing(judged: RunFolder, tmp_path: Path) -> None:
    async def review() -> int:
        pages = pages_data(judged, tmp_path, reviewers=3)
        items = await pages.next(10, "alice")
        given = [pages.label(item.key, "Refuse", name) for item in items for name in ("alice", "bob", "carol")]
        await asyncio.gather(*given, pages.data())
        return (await pages.progress("dora")).labelled

    assert asyncio.run(review()) == 6
    assert set(settle(read_labels(tmp_path / "labels")).labels().values()) == {"Refuse"}


def test_the_dashboard_is_read_anew_when_it_is_old(judged: RunFolder, tmp_path: Path) -> None:
    async def look() -> None:
        fresh = PagesData(judged.root, tmp_path, meter=Meter(), config=PagesDataConfig(fresh_s=0))
        stale = PagesData(judged.root, tmp_path, config=PagesDataConfig(fresh_s=3600))
        before, kept = await fresh.data(), await stale.data()
        judged.recipe.write_text("not: a recipe")
        assert await fresh.data() != before and await stale.data() is kept
        assert await fresh.traffic() == TRAFFIC and await stale.traffic() is None

    asyncio.run(look())
