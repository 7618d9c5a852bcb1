"""What `salus serve` serves: its settings, with the policies that the command line names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actors.errors import SalusError
from pipelines.serving.settings import ServeSettings, load_settings


def chosen_settings(
    file: Path | None, overrides: Sequence[str], policies: Sequence[str]
) -> tuple[ServeSettings, str | None]:
    """The settings, and the version that a policy which nobody named begins with (None: the current one).

    Args:
        file: a YAML file of settings, if there is one.
        overrides: `a.b=value`.
        policies: `VERSION` once, or `NAME=VERSION` each.

    Raises:
        SalusError: settings that do not fit, or policies with and without names.
    """
    pairs = [each.partition("=") for each in policies]
    named = [f"policies.{name}.policy={version}" for name, equals, version in pairs if equals]
    unnamed = [name for name, equals, _ in pairs if not equals]
    if len(unnamed) > 1 or (unnamed and named):
        raise SalusError("Several policies want names, as --policy clinic=VERSION --policy ward=VERSION.")
    settings = load_settings(file, [*overrides, *named])
    if unnamed and settings.policies:
        raise SalusError(
            f"The settings name policies, so say which of them is to be {unnamed[0]}: --policy NAME={unnamed[0]}."
        )
    return settings, unnamed[0] if unnamed else None
