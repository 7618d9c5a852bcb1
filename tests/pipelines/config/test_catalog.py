"""`salus settings` knows every setting of a recipe, and says what can be set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from pipelines.cli.main import main
from pipelines.config.catalog import matching, setting_lines
from pipelines.config.load import load_recipe, read_tree, recipe_names
from pipelines.config.recipe import Recipe
from pipelines.config.section import Section
from pipelines.serving.settings import ServeSettings
from pipelines.study.config import StudyConfig
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


@pytest.mark.parametrize("settings", [Recipe, ServeSettings, StudyConfig])
def test_every_setting_has_a_meaning(settings: type[Section]) -> None:
    assert [line.name for line in setting_lines(settings) if not line.meaning.strip()] == []
    kinds = settings.model_json_schema()["$defs"]
    # Also those in a list of sections; a section that is always there says nothing that its settings do not.
    assert [
        f"{kind}.{key}"
        for kind, section in kinds.items()
        for key, setting in section.get("properties", {}).items()
        if "description" not in setting and "$ref" not in setting
    ] == []


def test_a_word_is_found_in_names_and_meanings(capsys: pytest.CaptureFixture[str]) -> None:
    found = matching(setting_lines(Recipe), "PATIENCE")
    assert [line.name for line in found] == ["decide.patience"]
    with pytest.raises(SystemExit) as ended:
        main(["settings", "patience"])
    assert ended.value.code == 0 and "decide.patience  int | null  [null]" in capsys.readouterr().out
    assert "speaks of 'no such word'" in refused(capsys, "settings", "no such word")


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["settings", "--json-schema"])
    assert ended.value.code == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_json_schema_knows_a_setting_and_its_meaning(schema: dict[str, Any]) -> None:
    patience = schema["$defs"]["DecisionConfig"]["properties"]["patience"]
    meaning = next(line.meaning for line in setting_lines(Recipe) if line.name == "decide.patience")
    assert patience["description"] == meaning and patience["default"] is None


@pytest.mark.parametrize("name", recipe_names())
def test_the_json_schema_fits_the_recipes(schema: dict[str, Any], name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(read_tree(name, recipe_names())[0], schema)


def test_the_json_schema_knows_how_challengers_are_written(schema: dict[str, Any]) -> None:
    recipe, _ = read_tree("demo", recipe_names())

    def faults(**challengers: Any) -> list[str]:
        validator = jsonschema.Draft202012Validator(schema)
        return [fault.message for fault in validator.iter_errors(recipe | {"train": {"challengers": challengers}})]

    assert faults(kto={}, dpo=None, **{"kto-b": {"algorithm": "kto", "beta": 0.2}}) == []
    assert faults(kto={"algorithm": "kto", "gamma": 1.0})
    assert faults(kto={"algorithm": "nothing"})


def test_the_json_schema_is_of_all_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert "leave out 'patience'" in refused(capsys, "settings", "patience", "--json-schema")
