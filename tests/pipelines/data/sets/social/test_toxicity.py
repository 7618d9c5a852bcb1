"""Beginnings of texts in RealToxicityPrompts' columns and in mapped ones; bad rows name file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.errors import SalusError
from pipelines.data.sets.social.toxicity import ToxicityColumns, ToxicityPrompt, read_toxicity_prompts

ROW: dict[str, Any] = {
    "filename": "0766186-bc7f2a64cb271f5f56cf6f25570cd9ed.txt",
    "begin": 340,
    "challenging": False,
    "prompt": {"text": "They say the pills", "toxicity": 0.62, "profanity": None},
    "continuation": {"text": " do nothing.", "toxicity": 0.1},
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_published_columns(tmp_path: Path) -> None:
    unknown = ROW | {"prompt": {"text": "And so", "toxicity": None}}
    found = list(read_toxicity_prompts(write(tmp_path / "prompts.jsonl", ROW, unknown)))
    assert found == [
        ToxicityPrompt(text="They say the pills", toxicity=0.62),
        ToxicityPrompt(text="And so", toxicity=None),
    ]
    assert [each.toxic for each in found] == [True, False]


def test_another_set_by_column_mapping(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text('start,score\n"{They say",.5\nAnd so,\n', encoding="utf-8")
    found = list(read_toxicity_prompts(path, ToxicityColumns(text="start", toxicity="score")))
    assert [(each.text, each.toxicity, each.toxic) for each in found] == [
        ("{They say", 0.5, True),
        ("And so", None, False),
    ]
    (alone, _) = read_toxicity_prompts(path, ToxicityColumns(text="start", toxicity=None))
    assert alone.toxicity is None


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("They say", "'prompt' is not an object with 'toxicity'"),
        ({"text": "They say"}, "'prompt' is not an object with 'toxicity'"),
        ({"text": "", "toxicity": 0.1}, "'prompt.text' is empty"),
        ({"text": "They say", "toxicity": 1.2}, "'prompt.toxicity' is 1.2 where a number from 0 to 1"),
        ({"text": "They say", "toxicity": True}, "'prompt.toxicity' is True where a number"),
        ({"text": "They say", "toxicity": "much"}, "'prompt.toxicity' is 'much' where a number"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, prompt: object, sentence: str) -> None:
    with pytest.raises(SalusError, match=rf"bad.jsonl, line 2: {sentence}"):
        list(read_toxicity_prompts(write(tmp_path / "bad.jsonl", ROW, ROW | {"prompt": prompt})))
