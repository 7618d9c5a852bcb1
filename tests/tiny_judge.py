"""A tiny model that can be taught to judge in seconds, and labelled answers that are easy to tell apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file, save_file

from actors.contract.records import Label
from actors.training.config import JudgeTrainConfig, LoraSettings
from tests.tiny_model import make_tiny_model

ANSWERS: dict[Label, str] = {"Accept": "Sure, here.", "Caution": "Ask your doctor.", "Refuse": "I can't help."}
# Three steps an epoch on 36 rows.
TINY_TRAINING = JudgeTrainConfig(learning_rate=1e-2, epochs=30, batch_size=12, lora=LoraSettings(rank=8, alpha=16))


def make_tiny_judge(folder: Path) -> Path:
    """An untrained model with a louder head: an adapter leaves the head as it is, and a fresh one hardly speaks."""
    make_tiny_model(folder, hidden=64)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 10
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def labelled(questions: Iterable[int]) -> list[dict[str, str]]:
    """One answer of each label to each question."""
    return [
        {"prompt": f"Question {i}?", "answer": answer, "label": label}
        for i in questions
        for label, answer in ANSWERS.items()
    ]
