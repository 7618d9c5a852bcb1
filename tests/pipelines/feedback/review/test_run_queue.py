"""The queue of a run folder: shards column-wise, newest cycle first, kept up to date."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.feedback.review.queue import JudgedAnswer, QueueConfig, build_queue
from pipelines.feedback.review.run_queue import RunQueue, cycle_shards, shard_answers
from tests.pipelines.feedback.review.answered import SURE, TORN, answered, write_judgments

CONFIG = QueueConfig(most=10, control_every=5)


def drawn_rows(count: int, seed: int) -> list[JudgedAnswer]:
    draw = random.Random(seed)
    return [
        answered(
            i,
            draw.choice((SURE, TORN, None, (0.6, 0.3, 0.1))),
            draw.randrange(4),
            draw.choice(("direct", "role_play")),
            draw.choice((None, 0.0, draw.random())),
        )
        for i in range(count)
    ]


def test_reading_the_likely_rows_gives_the_queue_of_all_rows(tmp_path: Path) -> None:
    rows = drawn_rows(400, 1)
    for shard in range(4):
        folder = write_judgments(tmp_path, 1, rows[shard * 100 : shard * 100 + 100], shard)
    shards = cycle_shards(folder, 1)
    few = build_queue(shard_answers(shards, CONFIG), CONFIG)
    everything = QueueConfig(most=400, control_every=5)
    of_all = build_queue(shard_answers(shards, everything), CONFIG)
    assert [place.key for place in few] == [place.key for place in of_all] and len(few) == 10
    assert len(list(shard_answers(shards, QueueConfig(most=2, control_every=5)))) < 300


def test_new_cycles_come_first_and_new_shards_are_seen(tmp_path: Path) -> None:
    folder = write_judgments(tmp_path, 1, [answered(1), answered(2)])
    queue = RunQueue(folder, CONFIG)
    assert len(queue.places()) == 2
    write_judgments(tmp_path, 2, [answered(3), answered(1)])
    assert [place.row.answer for place in queue.places()][-1] == "answer 2"
    write_judgments(tmp_path, 2, [answered(4)], shard=1)
    assert {place.row.answer for place in queue.places()} == {f"answer {i}" for i in (1, 2, 3, 4)}


def test_nothing_judged_yet_is_an_empty_queue(tmp_path: Path) -> None:
    assert RunQueue(RunFolder(tmp_path), CONFIG).places() == []


def test_a_shard_of_an_earlier_version_has_no_disagreement(tmp_path: Path) -> None:
    folder = write_judgments(tmp_path, 1, [answered(1, TORN)])
    (shard,) = cycle_shards(folder, 1)
    pq.write_table(pq.read_table(shard).drop_columns(["disagreement"]), shard)
    (place,) = RunQueue(folder, CONFIG).places()
    assert place.row.disagreement is None and place.row.p == pytest.approx(TORN)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = write_judgments(tmp_path, 1, [answered(1)])
    (shard,) = cycle_shards(folder, 1)
    pq.write_table(pq.read_table(shard).drop_columns(["p_refuse"]), shard)
    with pytest.raises(SalusError, match="lacks the column p_refuse"):
        RunQueue(folder, CONFIG).places()
    shard.write_bytes(b"no Parquet")
    with pytest.raises(SalusError, match=r"part-00000\.parquet is not a readable"):
        RunQueue(folder, CONFIG).places()
