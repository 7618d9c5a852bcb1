"""`salus settings`: every setting of a recipe, to be searched by a word."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from actors.errors import SalusError
from pipelines.cli.console import console


def register(app: typer.Typer) -> None:
    app.command(epilog="Examples: salus settings patience; salus settings --json-schema > recipe.schema.json")(settings)


def settings(
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="In a setting's name, values or meaning.")] = "",
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="The JSON schema of a whole recipe, as editors read it.")
    ] = False,
) -> None:
    """List the settings of a recipe with their types, defaults, units and meanings; --set changes one."""
    from pipelines.config.catalog import matching, setting_lines
    from pipelines.config.recipe import Recipe
    from pipelines.report.settings_table import settings_text

    if json_schema:
        if word:
            raise SalusError(f"--json-schema is of all settings; leave out {word!r}, or leave out --json-schema.")
        print(json.dumps(Recipe.model_json_schema(), indent=2))
        return
    found = matching(setting_lines(Recipe), word)
    if not found:
        raise SalusError(f"No setting of a recipe speaks of {word!r}; salus settings lists all of them.")
    console().print(settings_text(found), soft_wrap=True)
