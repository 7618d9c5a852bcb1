"""Settings from YAML with command-line overrides; a bad key or value gets one sentence with the nearest valid one."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from actors.errors import SalusError
from actors.files.shards import write_text
from actors.training.algorithms.table import ALGORITHMS
from actors.training.config import with_challengers
from pipelines.config.recipe import Recipe

# What the name of a study's file begins with: it is in the folder of the recipes and is none.
STUDY = "study"
# Sections and key of settings that runs of earlier versions recorded, and that decide nothing any more.
_REMOVED = (("publish", "engine_in_process"), ("publish", "desk_timeout_s"), ("publish", "feedback", "compact_files"))
# Where a recipe names its challengers.
CHALLENGERS = ("train", "challengers")
Settings = TypeVar("Settings", bound=BaseModel)


def recipe_names() -> list[str]:
    """Recipes that come with Salus."""
    return [name for name in _shipped() if not name.startswith(STUDY)]


def study_names() -> list[str]:
    """Studies of several runs that come with Salus."""
    return [name for name in _shipped() if name.startswith(STUDY)]


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its name or by the path of a YAML file, with `a.b=value` overrides.

    Raises:
        SalusError: no such recipe, not YAML, an unknown key or a value that does not fit.
    """
    if name in study_names():
        raise SalusError(
            f"{name} is a study of several runs, not the recipe of one; start it with: salus study {name}."
        )
    tree, where = read_tree(name, recipe_names())
    return recipe_of(tree, overrides, where)


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
        tree = yaml.safe_load(text)
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
        _override(tree, override)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise SalusError(_sentence(error, where, kind)) from error


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
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise SalusError(f"Recipe file {name} does not exist.")
        try:
            return path.read_text(encoding="utf-8"), name
        except UnicodeDecodeError as error:
            raise SalusError(f"Recipe file {name} is not UTF-8 text; save it as UTF-8.") from error
    raise SalusError(
        f"There is no recipe {name!r}{_nearest(name, known)}; give one of"
        f" {', '.join(known)} or the path of a .yaml file."
    )


def _override(tree: dict[str, Any], override: str) -> None:
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
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SalusError(f"--set {key}: {value!r} is not a YAML value.") from error


def _sentence(error: ValidationError, where: str, kind: type[BaseModel]) -> str:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    kind, path = _of_challenger(kind, path)
    key = ".".join(path) or "the recipe"
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, path[:-1])
        return f"{where}: unknown key {key!r}{_nearest(path[-1], known)}; it may hold {', '.join(known)}."
    message = first["msg"].removeprefix("Value error, ")
    given = f" (given {first['input']!r})" if not isinstance(first["input"], dict | BaseModel) else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {key}: {message}{given}{more}."


def _of_challenger(kind: type[BaseModel], path: list[str]) -> tuple[type[BaseModel], list[str]]:
    """Where a fault is in a challenger's settings: their model, and the path without the algorithm in its middle."""
    at = len(CHALLENGERS) + 1
    algorithm = next((row for name, row in ALGORITHMS.items() if path[at : at + 1] == [name]), None)
    if tuple(path[: at - 1]) != CHALLENGERS or algorithm is None:
        return kind, path
    return algorithm.settings, path[:at] + path[at + 1 :]


def _fields_at(model: type[BaseModel], path: Iterable[str]) -> list[str]:
    """Names of the fields of the section at `path`; the numbers of a list's entries are no sections."""
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            continue
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if nested:
            model = nested[0]
    return list(model.model_fields)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}" if close else ""
