"""Topics and styles that are held out are in the test split alone; topics are read as data sets write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from actors.contract.records import Prompt, Split, prompt_table
from actors.errors import SalusError
from actors.files.shards import strings
from pipelines.data.fields import topics
from pipelines.data.rows import Row
from pipelines.data.sets.held_out import HeldOutConfig, hold_out
from pipelines.data.split import check_disjoint


def row(name: str, base: str, topics: str | None = None, style: str | None = None) -> Prompt:
    return Prompt(prompt_id=name, prompt=name, level=3, base_prompt=base, source="s", topics=topics, style=style)


def splits() -> dict[Split, pa.Table]:
    return {
        "train": prompt_table([
            row("t1", "a", "fraud"), row("t2", "a", "fraud", "egida:DAN"), row("t3", "B ", "fraud|privacy"),
            row("t4", "b", None, "egida:AIM"),
        ]),
        "validation": prompt_table([row("v1", "c", "fraud", "egida:DAN"), row("v2", "c", "fraud")]),
        "test": prompt_table([row("x1", "d", "privacy", "egida:DAN")]),
    }  # fmt: skip


def ids(found: dict[Split, pa.Table]) -> dict[Split, list[str]]:
    return {split: strings(table, "prompt_id") for split, table in found.items()}


def test_a_held_out_topic_takes_all_rewrites_and_a_style_its_own_rows() -> None:
    found = hold_out(splits(), HeldOutConfig(topics=("privacy",), styles=("egida:DAN",)))
    assert ids(found) == {"train": ["t1"], "validation": ["v2"], "test": ["x1", "t3", "t4"]}
    check_disjoint(found)


def test_without_names_nothing_changes() -> None:
    assert ids(hold_out(splits(), HeldOutConfig())) == ids(splits())


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(SalusError, match=r"held_out.topics: no prompt has the topic 'privasy'; did you mean 'privacy'"):
        hold_out(splits(), HeldOutConfig(topics=("privasy",)))
    plain: dict[Split, pa.Table] = {
        split: prompt_table([row(split, split)]) for split in ("train", "validation", "test")
    }
    with pytest.raises(SalusError, match="the data set names no styles; leave it out"):
        hold_out(plain, HeldOutConfig(styles=("DAN",)))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"weapons": True, "fraud": True, "health": False}, "fraud|weapons"),
        (["weapons", "fraud"], "fraud|weapons"),
        ("self-harm", "self-harm"),
        ("a|b", "a/b"),
        ("", None), (None, None), ([], None), ({}, None),
    ],
)  # fmt: skip
def test_topics_are_read_from_a_text_a_list_or_a_table_of_yes_and_no(written: Any, read: str | None) -> None:
    assert topics(Row({"topics": written}, "x.jsonl", 1), "topics") == read
    assert topics(Row({}, "x.jsonl", 1), "topics") is None


def test_a_topic_that_is_no_text_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"x.jsonl, line 3: 'topics' is 7 where text is expected"):
        topics(Row(json.loads('{"topics": [7]}'), "x.jsonl", 3), "topics")
