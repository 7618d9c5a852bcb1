"""Which column of a data file holds what, found by its name and by all its values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.contract.records import METHODS
from actors.errors import SalusError
from pipelines.data.rows import data_files, rows_of

# Names of prompts, likeliest first; lists of messages are among them.
_PROMPTS = (
    "prompt", "prompts", "question", "request", "instruction", "query", "text", "input", "goal", "user", "message",
    "messages", "conversations", "conversation", "content",
)  # fmt: skip
_LEVELS = ("level", "harm_level", "harm", "severity", "risk_level", "risk")
# Names of columns that say harmful or not: their 1 is no mild harm.
_HARMFUL = ("harmful", "is_harmful", "unsafe", "is_unsafe", "toxic", "label", "class", "category", "type", "safety")
_WORDS: Mapping[str, int] = {
    **dict.fromkeys(("safe", "harmless", "benign", "none", "no", "false", "0", "ok", "vanilla_benign"), 0),
    **dict.fromkeys(("mild", "low", "minor"), 1),
    **dict.fromkeys(("moderate", "medium"), 2),
    **dict.fromkeys(("severe", "high", "critical", "harmful", "unsafe", "toxic", "malicious", "yes", "true", "1"), 3),
}
_NUMBERS = frozenset("0123")
_MOST_VALUES = 24
_PROSE_CHARACTERS = 12
# A question to the user: the words, and what may be answered (none: anything). Raises SalusError off a terminal.
Ask = Callable[[str, tuple[str, ...]], str]


@dataclass
class _Column:
    """What is known of a column after every row."""

    rows: int = 0
    texts: int = 0
    lists: int = 0
    characters: int = 0
    # As text, in the order they came; no more than `_MOST_VALUES`, and one more where there are more.
    values: dict[str, None] = field(default_factory=dict)

    def add(self, value: object) -> None:
        if value is None or value == "":
            return
        self.rows += 1
        self.lists += isinstance(value, list)
        if isinstance(value, str):
            self.texts += 1
            self.characters += len(value)
        if len(self.values) <= _MOST_VALUES and not isinstance(value, list | dict):
            self.values.setdefault(str(value).strip())

    @property
    def is_text(self) -> bool:
        """Whether each value is text, or each is a list, as of messages."""
        return self.rows > 0 and self.rows in (self.texts, self.lists)

    @property
    def is_prose(self) -> bool:
        """Whether its text is of some length, or of messages."""
        return self.is_text and (self.lists > 0 or self.characters > _PROSE_CHARACTERS * self.rows)

    @property
    def few(self) -> tuple[str, ...]:
        """All its values, where they are few; else none."""
        return tuple(self.values) if len(self.values) <= _MOST_VALUES else ()


def _is_principle(column: _Column) -> bool:
    return bool(column.few) and set(column.few) <= set("01234567")


def _is_method(column: _Column) -> bool:
    return bool(column.few) and {each.casefold().replace("-", "_") for each in column.few} <= set(METHODS)


# Further columns by their names, and what they must hold to be taken.
_FURTHER: Mapping[str, Callable[[_Column], bool]] = {
    "base_prompt": lambda column: column.is_text and not column.lists,
    "reference": lambda column: column.is_text and not column.lists,
    "principle": _is_principle,
    "method": _is_method,
}


def find_columns(location: Path, ask: Ask, prompt: str | None, level: str | None, fixed: int | None) -> dict[str, Any]:
    """The mapping of a file's columns, as `data.columns` takes it.

    Args:
        location: the data file, or a folder of some.
        ask: is asked where the file does not tell.
        prompt: the prompt's column; None: look for it.
        level: the harm level's column; None: look for it.
        fixed: the level of every row; None: a column holds it.

    Raises:
        SalusError: the file cannot be read, or lacks a named column.
    """
    columns = _columns(location)
    chosen = _named(prompt, columns, location) or _prompt(columns, location, ask)
    mapping: dict[str, Any] = {"prompt": chosen}
    if fixed is not None:
        mapping["fixed_level"] = fixed
    else:
        mapping |= _level(_named(level, columns, location), columns, chosen, location, ask)
    for name, fits in _FURTHER.items():
        if name in columns and name not in mapping.values() and columns[name].rows and fits(columns[name]):
            mapping[name] = name
    return mapping


def _columns(location: Path) -> dict[str, _Column]:
    columns: dict[str, _Column] = {}
    for file in data_files(location):
        for row in rows_of(file, ()):
            for name, value in row.values.items():
                columns.setdefault(name, _Column()).add(value)
    return columns


def _named(name: str | None, columns: Mapping[str, _Column], location: Path) -> str | None:
    if name is not None and name not in columns:
        raise SalusError(f"{location} has no column {name!r}; its columns are {', '.join(columns)}.")
    return name


def _by_name(names: Iterable[str], columns: Mapping[str, _Column]) -> list[str]:
    """The columns of these names, in any case, in the order of the names."""
    there = {column.casefold(): column for column in columns}
    return [there[name] for name in names if name in there]


def _prompt(columns: Mapping[str, _Column], location: Path, ask: Ask) -> str:
    named = _by_name(_PROMPTS, {name: column for name, column in columns.items() if column.is_text})
    if named:
        return named[0]
    prose = {name: column for name, column in columns.items() if column.is_prose}
    if len(prose) == 1:
        return next(iter(prose))
    choices = tuple(prose or columns)
    return ask(f"Which column of {location} holds the prompt? (--prompt-column; one of {', '.join(choices)})", choices)


def _level(named: str | None, columns: Mapping[str, _Column], prompt: str, location: Path, ask: Ask) -> dict[str, Any]:
    for name in [named] if named is not None else _by_name((*_LEVELS, *_HARMFUL), columns):
        if name != prompt and (found := _levels(name, columns[name].few)) is not None:
            return found
    if named is None:
        told = ask(
            f"Which harm level has every prompt of {location}, 0 (harmless) to 3 (severe)? No column of it holds levels"
            " that Salus knows (--level, or --level-column)",
            ("0", "1", "2", "3"),
        )
        return {"fixed_level": int(told)}
    words = columns[named].few
    if not words:
        raise SalusError(f"Column {named!r} of {location} has too many values for levels; name another --level-column.")
    levels = {
        word: int(ask(f"Which harm level is {word!r}, 0 (harmless) to 3 (severe)?", ("0", "1", "2", "3")))
        for word in words
    }
    return {"level": named, "level_names": levels}


def _levels(name: str, values: tuple[str, ...]) -> dict[str, Any] | None:
    """What a column says of levels; None where it does not speak of them."""
    numbers = {value.removesuffix(".0") for value in values}
    binary = name.casefold() in _HARMFUL and numbers <= {"0", "1"}
    strange = numbers - _NUMBERS
    # One that is none: the row that has it is named when it is read.
    if not binary and numbers & _NUMBERS and (not strange or (name.casefold() in _LEVELS and len(strange) == 1)):
        return {"level": name}
    if not values or not all(value.casefold().removesuffix(".0") in _WORDS for value in values):
        return None
    return {"level": name, "level_names": {value: _WORDS[value.casefold().removesuffix(".0")] for value in values}}
