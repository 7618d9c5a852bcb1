"""Every setting of a recipe by its dotted name, with its values, default and meaning: what `salus settings` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from actors.contract.decides import inner_sections
from actors.training.algorithms.settings import ChallengerConfig
from actors.training.algorithms.table import ALGORITHMS

# The key of a recipe's file that names what it extends; no setting, as the resolved recipe does not have it.
EXTENDS = "extends"


@dataclass(frozen=True)
class SettingLine:
    """One setting."""

    # Dotted, as `--set` takes it; NAME is a name of the user's own. A challenger is called by its algorithm.
    name: str
    # As "float", or "none | sft | dpo".
    values: str
    # As YAML writes it; None: the recipe must name a value.
    default: str | None
    meaning: str


def setting_lines(section: type[BaseModel], at: str = "") -> Iterator[SettingLine]:
    """The settings of a section and of those in it, in the order of their fields."""
    for key, field in section.model_fields.items():
        name = f"{at}.{key}" if at else key
        inner = [(kind, f"{name}.{called}" if called else name) for kind, called in _sections(field.annotation)]
        # A section that is always there says nothing that its settings do not.
        if not inner or field.description or NoneType in get_args(field.annotation):
            yield SettingLine(
                name, _values(field.annotation), None if inner else _default(field), field.description or ""
            )
        for kind, place in inner:
            yield from setting_lines(kind, place)


def matching(lines: Iterator[SettingLine], word: str) -> list[SettingLine]:
    """Those with the word in their name, their values or their meaning, in any case; all for no word."""
    wanted = word.casefold()
    return [line for line in lines if wanted in f"{line.name} {line.values} {line.meaning}".casefold()]


def recipe_schema(recipe: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a recipe's file, which may leave to another what it extends."""
    schema = recipe.model_json_schema()
    schema["properties"][EXTENDS] = {
        "type": "string",
        "description": "a recipe's name, or the path of a .yaml file: this file holds what differs from it",
    }
    schema["anyOf"] = [{"required": [EXTENDS]}, {"required": schema.pop("required")}]
    return schema


def takes_text(section: type[BaseModel], path: Sequence[str]) -> tuple[bool, bool]:
    """Whether the setting at `path` takes any text and nothing else, and whether it may be null instead."""
    annotations: list[Any] = [section]
    for key in path:
        annotations = [inner for each in annotations for inner in _inside(each, key)]
    choices = [choice for each in annotations for choice in _choices(each)]
    values = [choice for choice in choices if choice is not NoneType]
    free = any(each in (str, Path) for each in values)
    return free and all(_is_text(each) for each in values), len(values) < len(choices)


def _inside(annotation: Any, key: str) -> Iterator[Any]:
    """What the values are that `key` names in a section, in a mapping of the user's own names, or in either."""
    for choice in _choices(annotation):
        if get_origin(choice) in (dict, Mapping):
            yield get_args(choice)[1]
        elif isinstance(choice, type) and issubclass(choice, BaseModel):
            kinds = [row.settings for row in ALGORITHMS.values()] if choice is ChallengerConfig else [choice]
            yield from (kind.model_fields[key].annotation for kind in kinds if key in kind.model_fields)


def _choices(annotation: Any) -> tuple[Any, ...]:
    annotation = _bare(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return tuple(choice for each in get_args(annotation) for choice in _choices(each))
    return (annotation,)


def _is_text(annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return all(isinstance(value, str) for value in get_args(annotation))
    return annotation in (str, Path)


def _sections(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The sections in a setting; each with the name it has there, where the user gives names."""
    yield from ((kind, "") for kind in inner_sections(annotation))
    for choice in (annotation, *get_args(annotation)):
        if get_origin(choice) in (dict, Mapping):
            for kind in inner_sections(_bare(get_args(choice)[1])):
                if kind is ChallengerConfig:
                    yield from ((row.settings, algorithm) for algorithm, row in ALGORITHMS.items())
                else:
                    yield kind, "NAME"


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _values(annotation: Any) -> str:
    annotation = _bare(annotation)
    if annotation is NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        return " | ".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(_values(choice) for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_values(get_args(annotation)[0])}"
    if get_origin(annotation) in (dict, Mapping):
        key, value = get_args(annotation)
        return f"mapping of {_values(key)} to {_values(value)}"
    if isinstance(annotation, type):
        return "section" if issubclass(annotation, BaseModel) else annotation.__name__.lower()
    return str(annotation)


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    value = to_jsonable_python(field.get_default(call_default_factory=True, validated_data={}))
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
