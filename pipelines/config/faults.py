"""What is wrong with settings, in plain words: every fault, each in one sentence, unknown keys first."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from actors.training.algorithms.table import ALGORITHMS

# Where a recipe names its challengers.
CHALLENGERS = ("train", "challengers")
_UNKNOWN = "extra_forbidden"
# Pydantic's kinds of errors in a user's words; names in braces are of the error's context.
_PLAIN: Mapping[str, str] = {
    "missing": "is missing; it has no default",
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be greater than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "literal_error": "must be {expected}",
    "string_type": "must be text; put it in quotes",
    "string_too_short": "must be text of at least {min_length} character(s)",
    "string_too_long": "must be text of at most {max_length} character(s)",
    "string_pattern_mismatch": "must be text of the pattern {pattern}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a section with names of your own",
    "model_type": "must be a section of settings",
    "model_attributes_type": "must be a section of settings",
    "path_type": "must be a path; put it in quotes",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}


def fault_text(kind: type[BaseModel], tree: Mapping[str, Any], error: ValidationError, where: str) -> str:
    """Every fault of a tree of settings.

    Args:
        kind: what the tree was to be.
        tree: the settings.
        error: what pydantic said of it.
        where: what the text calls the tree.

    Returns:
        One sentence where there is one fault; else a first line with their number, and a line for each.
    """
    sentences = list(dict.fromkeys(_sentences(kind, tree, error)))
    if len(sentences) == 1:
        return f"{where}: {sentences[0]}"
    return "\n  ".join([f"{where} has {len(sentences)} faults.", *sentences])


def nearest_known(name: str, known: Iterable[str]) -> str:
    """As `, did you mean 'beta'`; empty where no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}" if close else ""


def _sentences(kind: type[BaseModel], tree: Mapping[str, Any], error: ValidationError) -> Iterator[str]:
    found = _apart(error.errors(include_url=False))
    unknown = [each for each in found if each["type"] == _UNKNOWN]
    yield from (_sentence(each, kind) for each in unknown)
    yield from (_sentence(each, kind) for each in found if each["type"] != _UNKNOWN)
    if unknown:
        # Pydantic asks what two settings must agree on only where every key is known.
        try:
            kind.model_validate(_without(tree, [each["loc"] for each in unknown]))
        except ValidationError as rest:
            yield from (_sentence(each, kind) for each in _apart(rest.errors(include_url=False)))


def _apart(found: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The faults without those that follow from others: a list is short by its entries that are faulty."""
    places = [each["loc"] for each in found]
    return [
        each
        for each in found
        if each["type"] != "too_short"
        or not any(len(place) > len(each["loc"]) and place[: len(each["loc"])] == each["loc"] for place in places)
    ]


def _without(tree: Mapping[str, Any], places: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    """A copy of the tree that lacks the keys at these places."""
    kept: dict[str, Any] = copy.deepcopy(dict(tree))
    for *sections, key in places:
        node: Any = kept
        for part in sections:
            # The algorithm in the middle of a challenger's place is no key.
            inside = part in node if isinstance(node, dict) else isinstance(node, list)
            node = node[part] if inside else node
        if isinstance(node, dict):
            node.pop(key, None)
    return kept


def _sentence(fault: ErrorDetails, kind: type[BaseModel]) -> str:
    path = [str(part) for part in fault["loc"]]
    kind, path = _of_challenger(kind, path)
    key = ".".join(path) or "the settings"
    if fault["type"] == _UNKNOWN:
        known = _fields_at(kind, path[:-1])
        return f"unknown key {key!r}{nearest_known(path[-1], known)}; it may hold {', '.join(known)}."
    if fault["type"] == "missing":
        return f"{key}: {_PLAIN['missing']}."
    given = f" (given {fault['input']!r})" if not isinstance(fault["input"], dict | BaseModel) else ""
    return f"{key}: {_message(fault)}{given}."


def _message(fault: ErrorDetails) -> str:
    words = _PLAIN.get(fault["type"])
    if words is None:
        return fault["msg"].removeprefix("Value error, ")
    return words.format_map(fault.get("ctx", {}))


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
