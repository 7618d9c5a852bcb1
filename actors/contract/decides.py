"""Which settings decide a result: said on the setting itself, as `Annotated[int, Decides.NOTHING]`.

A setting on which nothing is said decides a result, so a forgotten mark makes Salus refuse too much, never too little.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Decides(Enum):
    """What follows from the value of a setting."""

    # The files that its section is about: they are made anew under another value.
    RESULT = "result"
    # Part of what the run is, so that it cannot be continued under another value; its section's files do not follow
    # from it.
    RUN = "run"
    # Where and how fast a run goes, or what is written down once: a run may be continued under another value.
    NOTHING = "nothing"


def decides(field: FieldInfo) -> Decides:
    """What a setting decides; a result where it is not marked."""
    return next((mark for mark in field.metadata if isinstance(mark, Decides)), Decides.RESULT)


def decisive(section: type[BaseModel]) -> tuple[str, ...]:
    """Names of a section's own settings that decide its result, in their order."""
    return tuple(name for name, field in section.model_fields.items() if decides(field) is Decides.RESULT)


def free(section: type[BaseModel]) -> Iterator[str]:
    """Names of the settings that decide nothing, dotted for those of inner sections."""
    for name, field in section.model_fields.items():
        if decides(field) is Decides.NOTHING:
            yield name
        else:
            yield from (f"{name}.{inner}" for each in inner_sections(field.annotation) for inner in free(each))


def inner_sections(annotation: object) -> Iterator[type[BaseModel]]:
    """The inner section of a field, also where it may be None."""
    for choice in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            yield choice
