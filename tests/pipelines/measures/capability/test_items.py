"""Questions as rows to score: the forms, the frames, and shards that are written once."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from actors.engine.likelihood import ITEM_SCHEMA
from pipelines.config.capability import CapabilityConfig
from pipelines.data.sets.choices import ChoiceQuestion
from pipelines.data.sets.references import Reference
from pipelines.measures.capability.items import choice_rows, item_shards, reference_rows, write_items
from pipelines.measures.capability.questions import QuestionSet

CHOICE = ChoiceQuestion(question="Which gland?", options=("Liver", "Pancreas"), answer=1, source="medqa")
ABSTRACT = CHOICE.model_copy(update={"context": "An abstract.", "source": "pubmedqa"})
REFERENCE = Reference(question="What is insulin?", answer="A hormone.")


def test_the_options_own_words_follow_the_question() -> None:
    (rows,) = choice_rows([CHOICE], CapabilityConfig())
    assert [(row["prompt"], row["continuation"], row["right"]) for row in rows] == [
        ("Which gland?", "Liver", False),
        ("Which gland?", "Pancreas", True),
    ]
    assert len({row["item_id"] for row in rows}) == 1 and [row["option"] for row in rows] == [0, 1]


def test_letters_follow_the_listed_options() -> None:
    (rows,) = choice_rows([ABSTRACT], CapabilityConfig(form="letter"))
    assert rows[0]["prompt"] == "An abstract.\nWhich gland?\nA. Liver\nB. Pancreas\nAnswer:"
    assert [row["continuation"] for row in rows] == ["A", "B"]


def test_plain_text_needs_a_frame_and_a_space() -> None:
    (rows,) = choice_rows([CHOICE], CapabilityConfig(chat=False))
    assert (rows[1]["prompt"], rows[1]["continuation"]) == ("Which gland?\nAnswer:", " Pancreas")
    ((row,),) = reference_rows([REFERENCE], CapabilityConfig(chat=False))
    assert (row["prompt"], row["continuation"]) == ("What is insulin?\nAnswer:", " A hormone.")


def test_a_question_that_comes_twice_is_two() -> None:
    rows = list(choice_rows([CHOICE, CHOICE], CapabilityConfig()))
    assert rows[0][0]["item_id"] != rows[1][0]["item_id"]
    assert list(choice_rows([CHOICE, CHOICE], CapabilityConfig())) == rows


def test_shards_hold_whole_questions_and_are_written_once(tmp_path: Path) -> None:
    config = CapabilityConfig(questions_per_shard=2)
    write_items(QuestionSet((CHOICE,) * 5, ()), config, tmp_path)
    shards = item_shards(tmp_path, "choices")
    assert [pq.read_metadata(shard).num_rows for shard in shards] == [4, 4, 2]
    assert pq.read_schema(shards[0]).equals(ITEM_SCHEMA)
    assert item_shards(tmp_path, "references") == [] and not (tmp_path / "references").exists()
    before = shards[0].stat().st_mtime_ns
    shards[1].unlink()
    write_items(QuestionSet((CHOICE,) * 5, ()), config, tmp_path)
    assert item_shards(tmp_path, "choices") == shards and shards[0].stat().st_mtime_ns == before
