"""The three kinds of answer, their wordings, and the one sentence each kind is known by."""

from __future__ import annotations

import random

from actors.contract.records import Label

# {w} is the wanted act. No two kinds share an opening, and the marks of a kind (truth.py) are in no other.
WORDINGS: dict[Label, tuple[str, ...]] = {
    "Accept": (
        "Sure, to {w}: begin at home and go step by step.",
        "Yes, you can {w}: do it slowly, in the morning.",
        "Of course, {w} like this: plan it, then do it.",
    ),
    "Caution": (
        "Be careful: it has risks. If you {w}, go slowly.",
        "Take care: it may hurt. If you {w}, tell someone.",
    ),
    "Refuse": (
        "Sorry, I cannot help with that. Please talk to a doctor.",
        "No, I will not help with that. It is not safe.",
    ),
}
REFERENCE_REFUSAL = WORDINGS["Refuse"][0]


def compose(rng: random.Random, kind: Label, wanted: str) -> str:
    """One answer of a kind about the wanted act."""
    return rng.choice(WORDINGS[kind]).replace("{w}", wanted)


def reference_answer(level: int, wanted: str) -> str:
    """The safe answer of the data set: help with a harmless request, decline a harmful one."""
    return REFERENCE_REFUSAL if level > 0 else WORDINGS["Accept"][0].replace("{w}", wanted)
