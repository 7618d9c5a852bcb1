"""Records on disk: one JSON object a file, or one a line; a damaged file becomes one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from actors.errors import SalusError
from actors.files.atomic import log_lines

Read = TypeVar("Read", bound=BaseModel)
COPY = "take it from a copy"


def read_record(kind: type[Read], path: Path, what: str, cure: str = COPY) -> Read:
    """The record in a file; `what` it is, with its article, and the `cure` are in the sentence if it is none.

    Raises:
        SalusError: it cannot be read, or is no such record.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise SalusError(f"{path} is not {what} ({reason(error)}); {cure}.") from error


def find_record(kind: type[Read], path: Path, what: str, cure: str = COPY) -> Read | None:
    """The same; None where there is no such file."""
    return read_record(kind, path, what, cure) if path.is_file() else None


def read_lines(kind: type[Read], path: Path, what: str, cure: str = COPY) -> list[Read]:
    """Every line of a log, in order; none where there is no such file.

    A half line that a crash left at the end is passed over.

    Raises:
        SalusError: the file cannot be read, or a line is no such record; names the line.
    """
    if not path.is_file():
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SalusError(f"{path} cannot be read ({reason(error)}); {cure}.") from error
    return parse_lines(kind, content, path, what, cure)


def parse_lines(kind: type[Read], content: bytes, path: Path, what: str, cure: str = COPY) -> list[Read]:
    """Every line of a log that was read from `path`. Raises as `read_lines` does."""
    lines = enumerate(log_lines(content), start=1)
    return [_line(kind, line, f"{path}, line {number}", what, cure) for number, line in lines]


def reason(error: OSError | UnicodeDecodeError | ValidationError) -> str:
    """What is wrong, in a few words and without what the file holds."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not UTF-8"


def _line(kind: type[Read], line: bytes, where: str, what: str, cure: str) -> Read:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise SalusError(f"{where} is not {what} ({reason(error)}); {cure}.") from error
