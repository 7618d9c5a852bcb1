"""Settings from YAML with command-line overrides; what is wrong in them is said by `pipelines.config.faults`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from actors.errors import SalusError
from actors.files.shards import write_text
from actors.training.config import with_challengers
from pipelines.config.catalog import EXTENDS, takes_text
from pipelines.config.faults import CHALLENGERS, fault_text, nearest_known
from pipelines.config.recipe import Recipe

# What the name of a study's file begins with: it is in the folder of the recipes and is none.
STUDY = "study"
# What the name of a file begins with that recipes extend, and that is no recipe by itself.
BASE = "base-"
# Sections and key of settings that runs of earlier versions recorded, and that decide nothing any more.
_REMOVED = (("publish", "engine_in_process"), ("publish", "desk_timeout_s"), ("publish", "feedback", "compact_files"))
# Of the files that recipes are read from.
SUFFIXES = (".yaml", ".yml")
# What YAML reads as nothing, where a setting may be that.
_NOTHING = ("", "~", "null", "Null", "NULL")
Settings = TypeVar("Settings", bound=BaseModel)


def recipe_names() -> list[str]:
    """Recipes that come with Salus."""
    return [name for name in _shipped() if not name.startswith((STUDY, BASE))]


def study_names() -> list[str]:
    """Studies of several runs that come with Salus."""
    return [name for name in _shipped() if name.startswith(STUDY)]


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its name or by the path of a YAML file, with `a.b=value` overrides.

    Raises:
        SalusError: no such recipe, not YAML, a circle of `extends`, an unknown key or a value that does not fit.
    """
    if name in study_names():
        raise SalusError(
            f"{name} is a study of several runs, not the recipe of one; start it with: salus study {name}."
        )
    if name.startswith(BASE) and name in _shipped():
        raise SalusError(f"{name} is no recipe by itself; write one with: extends: {name}.")
    tree, where = extended(*read_tree(name, recipe_names()), _place(name))
    return recipe_of(tree, overrides, where)


def extended(tree: dict[str, Any], where: str, *places: str) -> tuple[dict[str, Any], str]:
    """The settings with all that they extend, and what faults call them.

    `extends` names a recipe that comes with Salus, or a file beside the one that names it. Sections are merged, key by
    key. Everything else takes the place of what it extends, lists too.

    Args:
        tree: the settings, as they are written.
        where: what faults call them.
        places: where they are from, and before that what extends them: a shipped name, or an absolute path.

    Raises:
        SalusError: what is extended does not exist, is no YAML, or extends in a circle.
    """
    if EXTENDS not in tree:
        return tree, where
    name = tree[EXTENDS]
    if not isinstance(name, str) or not name:
        raise SalusError(f"{where}: {EXTENDS} must be the name of a recipe or the path of a .yaml file, not {name!r}.")
    known = [each for each in _shipped() if not each.startswith(STUDY)]
    path = Path(name).expanduser()
    # A path that is absolute already stays as it is.
    read = str(Path(places[0]).parent / path) if path.suffix in SUFFIXES else name
    if _place(read) in places:
        raise SalusError(f"{where} extends {name!r}, which makes a circle; leave one {EXTENDS} out.")
    try:
        under, origin = extended(*read_tree(read, known), _place(read), *places)
    except SalusError as error:
        raise SalusError(f"{where} extends {name!r}: {error.sentence}") from error
    own = {key: value for key, value in tree.items() if key != EXTENDS}
    if isinstance(train := own.get("train"), dict) and "challengers" in train:
        settle_challengers(under)
    return _merged(under, own), f"{where} (extends {origin})"


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {key: (under[key], value) for key, value in over.items() if key in under}
    deep = {k: _merged(a, b) for k, (a, b) in both.items() if isinstance(a, dict) and isinstance(b, dict)}
    return under | over | deep


def _place(name: str) -> str:
    """What tells a file from all others: a shipped one's name, or its absolute path."""
    return name if name in _shipped() else str(Path(name).expanduser().resolve())


def load_run_recipe(path: Path) -> Recipe:
    """The resolved recipe that a run wrote; settings that only earlier versions had are passed over.

    Raises:
        SalusError: as `load_recipe` raises.
    """
    tree, where = read_tree(str(path), ())
    for *sections, key in _REMOVED:
        settings: Any = tree
        for section in sections:
            settings = settings.get(section) if isinstance(settings, dict) else None
        if isinstance(settings, dict):
            settings.pop(key, None)
    return recipe_of(tree, (), where)


def read_tree(name: str, known: Sequence[str]) -> tuple[dict[str, Any], str]:
    """The settings of one of the `known` files that come with Salus, or of a YAML file, and what faults call it.

    Raises:
        SalusError: no such file, or not YAML.
    """
    text, where = _read(name, known)
    try:
        tree = _yaml(text)
    except yaml.YAMLError as error:
        raise SalusError(f"{where} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(tree, dict):
        raise SalusError(f"{where} must hold a mapping of sections; see pipelines/config/recipes/demo.yaml.")
    return tree, where


def recipe_of(tree: dict[str, Any], overrides: Sequence[str], where: str) -> Recipe:
    """A recipe from nested settings, with overrides; see `settings_of`."""
    return settings_of(Recipe, tree, overrides, where)


def settings_of(kind: type[Settings], tree: dict[str, Any], overrides: Sequence[str], where: str) -> Settings:
    """Nested settings with overrides as one model; `where` is what faults name.

    Raises:
        SalusError: an unknown key or a value that does not fit.
    """
    for override in overrides:
        # One setting of a challenger leaves the others as they are, the default's and those of earlier versions too.
        if override.strip().startswith(f"{'.'.join(CHALLENGERS)}."):
            settle_challengers(tree)
        _override(tree, override, kind)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise SalusError(fault_text(kind, tree, error, where)) from error


def settle_challengers(tree: dict[str, Any]) -> None:
    """Give a recipe's tree its challengers by name, as earlier versions did not; what is wrong in it stays as it is."""
    train = tree.get("train") or {}
    if isinstance(train, dict):
        with contextlib.suppress(ValueError):
            tree["train"] = with_challengers(train)


def save_recipe(recipe: BaseModel, path: Path) -> None:
    """Write every setting, defaults included."""
    write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), path)


def _shipped() -> list[str]:
    folder = resources.files("pipelines.config") / "recipes"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def _read(name: str, known: Sequence[str]) -> tuple[str, str]:
    path = Path(name)
    if name in known:
        source = resources.files("pipelines.config") / "recipes" / f"{name}.yaml"
        return source.read_text(encoding="utf-8"), f"recipe {name}"
    if path.suffix in SUFFIXES:
        if not path.is_file():
            raise SalusError(f"Recipe file {name} does not exist.")
        try:
            return path.read_text(encoding="utf-8"), name
        except UnicodeDecodeError as error:
            raise SalusError(f"Recipe file {name} is not UTF-8 text; save it as UTF-8.") from error
    raise SalusError(
        f"There is no recipe {name!r}{nearest_known(name, known)}; give one of"
        f" {', '.join(known)} or the path of a .yaml file."
    )


def _override(tree: dict[str, Any], override: str, kind: type[BaseModel]) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise SalusError(f"--set {override!r} is not of the form section.key=value.")
    *parents, last = key.strip().split(".")
    node = tree
    for parent in parents:
        child = node.get(parent)
        if not isinstance(child, dict):
            child = node[parent] = {}
        node = child
    text, nothing = takes_text(kind, [*parents, last])
    if text:
        # As it is: a path may look like a date, or hold what YAML reads as a comment.
        node[last] = None if nothing and value in _NOTHING else value
        return
    try:
        node[last] = _yaml(value)
    except yaml.YAMLError as error:
        raise SalusError(f"--set {key}: {value!r} is not a YAML value.") from error


class _Loader(yaml.SafeLoader):
    """YAML in which a date is text: no setting is a date."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)
