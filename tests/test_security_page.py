"""The security page names settings that there are."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipelines.config.recipe import Recipe
from tests.root import ROOT

PAGE = ROOT / ".github" / "SECURITY.md"
NAMED = sorted(set(re.findall(r"`((?:publish|judge|cluster|data)(?:\.[a-z_]+)+)`", PAGE.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("setting", NAMED)
def test_every_setting_it_names_is_one(setting: str) -> None:
    *sections, last = setting.split(".")
    model: Any = Recipe
    for section in sections:
        annotation = model.model_fields[section].annotation
        options = getattr(annotation, "__args__", (annotation,))
        model = next(option for option in options if hasattr(option, "model_fields"))
    assert last in model.model_fields


def test_it_names_some() -> None:
    assert len(NAMED) >= 6
