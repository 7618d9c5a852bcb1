"""The first setting in which two resolved configurations differ, in words a user can act on."""

from __future__ import annotations

from typing import Any


def first_difference(known: Any, asked: Any, at: str = "") -> str | None:
    """As `train.kto.beta: 0.1 there, 0.2 now`, by the name of the setting; None where nothing differs."""
    if isinstance(known, dict) and isinstance(asked, dict):
        for key in sorted({*known, *asked}):
            found = first_difference(known.get(key), asked.get(key), f"{at}.{key}" if at else str(key))
            if found:
                return found
        return None
    return None if known == asked else f"{at}: {known!r} there, {asked!r} now"
