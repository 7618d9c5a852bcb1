"""What in an output could steer a terminal."""

from __future__ import annotations

import unicodedata


def controls(shown: str) -> set[str]:
    """Control and format characters of an output, but for line breaks."""
    return {letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp")} - {"\n"}
