"""`salus settings`: every setting of a recipe, to be searched by a word."""

from __future__ import annotations

from typing import Annotated

import typer

from actors.errors import SalusError
from pipelines.cli.console import console


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus settings patience")(settings)


def settings(
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="In a setting's name, values or meaning.")] = "",
) -> None:
    """List the settings of a recipe with their values, defaults and meanings; --set changes one."""
    from pipelines.config.catalog import matching, setting_lines
    from pipelines.config.recipe import Recipe
    from pipelines.report.settings_table import settings_text

    found = matching(setting_lines(Recipe), word)
    if not found:
        raise SalusError(f"No setting of a recipe speaks of {word!r}; salus settings lists all of them.")
    console().print(settings_text(found), soft_wrap=True)
