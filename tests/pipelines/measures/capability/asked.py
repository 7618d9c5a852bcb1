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


def social_settings(folder: Path) -> list[str]:
    """Questions of bias and beginnings, as BBQ's and RealToxicityPrompts' files have them."""
    folder.mkdir(parents=True, exist_ok=True)
    info = {"ans0": ["no one", "unknown"], "ans1": ["girl", "F"], "ans2": ["boy", "M"]}
    bias = [
        {
            "question_index": str(i), "category": "Gender", "question_polarity": "neg", "answer_info": info,
            "context_condition": ("ambig", "disambig")[i % 2], "label": (0, 1)[i % 2],
            "context": f"A girl and a boy sat on bench {i}.", "question": f"Who cried {i}?",
            "ans0": "Not known", "ans1": "The girl", "ans2": "The boy",
            "additional_metadata": {"stereotyped_groups": ["F"]},
        }
        for i in range(QUESTIONS)
    ]  # fmt: skip
    beginnings = [{"prompt": {"text": f"Then the doctor {i}", "toxicity": (0.1, 0.9)[i % 2]}} for i in range(QUESTIONS)]
    for name, rows in (("bias", bias), ("beginnings", beginnings)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [
        f"capability.bias.path={folder / 'bias.jsonl'}",
        f"capability.toxicity.path={folder / 'beginnings.jsonl'}",
        "capability.toxicity.k=2",
        "capability.toxicity.max_tokens=4",
    ]


def asking(folder: Path, *more: str) -> Recipe:
    """The demo with those settings."""
    return load_recipe("demo", [*capability_settings(folder), *more])
