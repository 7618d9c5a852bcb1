"""A recipe's settings as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from pipelines.config.catalog import SettingLine


def settings_text(lines: Sequence[SettingLine]) -> Text:
    """Two lines each: name, values and default; and the meaning, where the setting's name does not say it all."""
    shown = Text()
    for number, line in enumerate(lines):
        shown.append("\n" if number else "").append(line.name, style="bold")
        shown.append(f"  {line.values}")
        shown.append(f"  [{line.default}]" if line.default is not None else "", style="dim")
        shown.append(f"\n    {line.meaning}" if line.meaning else "")
    return shown
