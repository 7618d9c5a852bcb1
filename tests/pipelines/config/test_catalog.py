"""`salus settings` knows every setting of a recipe, and says what can be set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.cli.main import main
from pipelines.config.catalog import matching, setting_lines
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from tests.pipelines.cli.refused import refused


def leaves(tree: dict[str, Any], at: str = "") -> Iterator[str]:
    for key, value in tree.items():
        name = f"{at}.{key}" if at else key
        if isinstance(value, dict) and value:
            yield from leaves(value, name)
        else:
            yield name


def test_every_setting_of_a_resolved_recipe_is_listed() -> None:
    lines = {line.name: line for line in setting_lines(Recipe)}
    for name in leaves(load_recipe("demo", []).model_dump(mode="json")):
        mapping = any(
            name.startswith(f"{known}.") and line.values.startswith("mapping") for known, line in lines.items()
        )
        assert name in lines or mapping, name
    assert lines["seed"].values == "int" and lines["seed"].default == "7"
    assert lines["data.source"].values.startswith("clinic | medsafety")
    assert lines["name"].default is None


def test_a_word_is_found_in_names_and_meanings(capsys: pytest.CaptureFixture[str]) -> None:
    found = matching(setting_lines(Recipe), "PATIENCE")
    assert [line.name for line in found] == ["decide.patience"]
    with pytest.raises(SystemExit) as ended:
        main(["settings", "patience"])
    assert ended.value.code == 0 and "decide.patience  int | null  [null]" in capsys.readouterr().out
    assert "speaks of 'no such word'" in refused(capsys, "settings", "no such word")
