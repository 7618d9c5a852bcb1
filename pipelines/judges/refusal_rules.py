"""How well the refusal rules agree with XSTest's human labels, on the half they were not tuned on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from actors.contract.records import Label
from actors.judges.rules import refusal_label
from pipelines.data.sets.xstest import read_xstest_answers
from pipelines.measures.agreement import Agreement, agreement


def xstest_agreement(
    folder: Path, rule: Callable[[str], Label] = refusal_label, *, binary: bool = False, tuning_half: bool = False
) -> Agreement:
    """How well a rule agrees with XSTest's human labels, on the half the rules were not tuned on.

    Args:
        folder: holds `xstest_v2_completions_*.csv`.
        rule: the label of an answer.
        binary: Refuse against not Refuse, instead of the three labels.
        tuning_half: report on the half the rules were tuned on instead (flattering).

    Raises:
        SalusError: no such file in the folder, or a bad row.
    """
    answers = [row for row in read_xstest_answers(folder) if is_tuning_prompt(row.id) == tuning_half]
    labels = [row.label for row in answers]
    predicted = [rule(row.answer) for row in answers]
    if not binary:
        return agreement(labels, predicted)
    return agreement(_refuses(labels), _refuses(predicted), labels=("Refuse", "Other"))


def is_tuning_prompt(prompt_id: str) -> bool:
    """Whether the rules were tuned on the answers to this XSTest prompt."""
    # By prompt, so that the three models' answers to one prompt stay together.
    return int(hashlib.sha256(prompt_id.encode()).hexdigest(), 16) % 2 == 0


def _refuses(labels: list[Label]) -> list[str]:
    return ["Refuse" if label == "Refuse" else "Other" for label in labels]
