"""Runs an example in percent format cell by cell, with other parameters, as papermill does with a notebook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent / "align_in_a_notebook.py"
_CELL = re.compile(r"^# %%(?P<head>.*)$", re.MULTILINE)


def run_cells(path: Path, **parameters: Any) -> dict[str, Any]:
    """What the cells leave behind; `parameters` take the place of those of the cell with that tag."""
    _, *parts = _CELL.split(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for head, code in zip(parts[::2], parts[1::2], strict=True):
        if "[markdown]" in head:
            continue
        exec(compile(code, str(path), "exec"), names)
        if 'tags=["parameters"]' in head:
            assert parameters.keys() <= names.keys()
            names |= parameters
    return names
