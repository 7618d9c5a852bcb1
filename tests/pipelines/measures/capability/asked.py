"""A small recipe that measures capability on files of its own, and a tiny model to measure."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe

QUESTIONS = 12


def capability_settings(folder: Path) -> list[str]:
    """The settings, and the files they name."""
    folder.mkdir(parents=True, exist_ok=True)
    choices = [
        {"question": f"Which dose {i}?", "options": {"A": "two", "B": f"{i} units", "C": "none"}, "answer_idx": "B"}
        for i in range(QUESTIONS)
    ]
    answers = [{"question": f"What is {i}?", "answer": f"Ask a doctor {i}."} for i in range(QUESTIONS)]
    for name, rows in (("choices", choices), ("references", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [
        f"capability.choices={folder / 'choices.jsonl'}",
        f"capability.references={folder / 'references.jsonl'}",
        "capability.questions_per_shard=2",
    ]


def asking(folder: Path, *more: str) -> Recipe:
    """The demo with those settings."""
    return load_recipe("demo", [*capability_settings(folder), *more])
