"""What the lineage of a run follows from: its layout, its recipe, which files there are, and who won each cycle."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.config.load import load_run_recipe, settle_challengers
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import BASE_VERSION
from pipelines.runs.open import check_format
from pipelines.runs.outcomes import first_champion, past_outcomes

_BASE = PolicyRef(version=BASE_VERSION, path="")


@dataclass(frozen=True)
class RunShape:
    """One run, seen from above."""

    # For the names of its paths; nothing is read through it.
    folder: RunFolder
    recipe: Recipe
    # Names of its files relative to its root, sorted.
    names: tuple[str, ...]
    # The champion each cycle began with, and after the last decided cycle the one that came of it.
    champions: tuple[str, ...]
    # What was live when each cycle began, and after the last decided one.
    live: tuple[str, ...]

    def at(self, path: Path) -> str:
        """A path of the layout as the name it has in sums and manifest."""
        return path.relative_to(self.folder.root).as_posix()

    def below(self, name: str) -> list[str]:
        """The files at or under a name, in order."""
        return names_below(self.names, name)


def shape_of(folder: RunFolder, recipe: Recipe, names: Iterable[str]) -> RunShape:
    """The shape of a run on disk; `names` are those of its files, also of such as were removed since.

    Raises:
        SalusError: a decision cannot be read.
    """
    outcomes = past_outcomes(folder, _BASE, recipe.cycles)
    live = (BASE_VERSION, *((outcome.published or _BASE).version for outcome in outcomes))
    return RunShape(folder, recipe, tuple(sorted(names)), champions_of(folder, recipe.cycles), live)


def names_below(names: Sequence[str], name: str) -> list[str]:
    """Of sorted names, those that are a name or are under it as a folder, in order."""
    at = bisect_left(names, name)
    itself = [name] if at < len(names) and names[at] == name else []
    # The character after the slash ends the stretch of names that begin with it.
    return itself + list(names[bisect_left(names, f"{name}/") : bisect_left(names, f"{name}0")])


def champions_of(folder: RunFolder, cycles: int) -> tuple[str, ...]:
    """Versions: what the first cycle starts from, then the champion after each cycle decided so far without a gap.

    Raises:
        SalusError: a decision cannot be read.
    """
    first = first_champion(folder, _BASE)
    return (first.version, *(outcome.champion.version for outcome in past_outcomes(folder, _BASE, cycles)))


def recipe_of_run(folder: RunFolder) -> Recipe:
    """The resolved recipe a run was made with.

    Raises:
        SalusError: the folder is not a run, or another version of Salus made it.
    """
    if not folder.recipe.is_file():
        raise SalusError(f"{folder.root} is not a run folder: it has no {folder.recipe.name}.")
    check_format(folder)
    return load_run_recipe(folder.recipe)


def settings_tree(folder: RunFolder) -> dict[str, Any]:
    """The same as nested settings, whatever version of Salus wrote them; challengers as they are named today.

    Raises:
        SalusError: the folder is not a run, or its recipe is not YAML.
    """
    if not folder.recipe.is_file():
        raise SalusError(f"{folder.root} is not a run folder: it has no {folder.recipe.name}.")
    try:
        tree = yaml.safe_load(folder.recipe.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SalusError(f"{folder.recipe} is not readable YAML ({type(error).__name__}); take a copy.") from error
    if not isinstance(tree, dict):
        return {}
    settle_challengers(tree)
    return tree
