"""A recipe's settings as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from pipelines.config.catalog import SettingLine


def settings_text(lines: Sequence[SettingLine]) -> Text:
    """Two lines each: name, type and default; and the meaning."""
    shown = Text()
    for number, line in enumerate(lines):
        shown.append("\n" if number else "").append(line.name, style="bold")
        shown.append(f"  {line.values}")
        shown.append(f"  [{line.default}]" if line.default is not None else "", style="dim")
        shown.append(f"\n    {line.meaning}")
    return shown
