"""Rows of CSV, JSONL and Parquet files, each with the place it came from, so that a fault can name it."""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import SalusError

_GAP = re.compile(r"[ \t\r\n]*")
FORMATS: tuple[str, ...] = (".csv", ".tsv", ".jsonl", ".parquet")
# Hub repositories also call both an array of objects and one object a line `.json`. In a folder of data such a file
# may as well be a description. So only readers that know the name of their file take it.
NAMED_FORMATS: tuple[str, ...] = (*FORMATS, ".json")
PARQUET_BATCH_ROWS = 4096
# What separates cells: the one of these that splits a header into the most.
_DELIMITERS = (",", ";", "\t")
# Python's own limit is below a patient's record with its question.
_LONGEST_CELL = 2**24
Content = TypeVar("Content", str, list[str])


@dataclass(frozen=True, slots=True)
class Row:
    """One row as read, and where it began: a line of a text file or a row of a Parquet file, from 1."""

    values: Mapping[str, object]
    file: str
    line: int
    unit: str = "line"

    def fail(self, sentence: str) -> NoReturn:
        """Refuse this row: `sentence` says what is wrong and how to mend it."""
        raise SalusError(f"{self.file}, {self.unit} {self.line}: {sentence}")


def data_files(location: Path, suffixes: Sequence[str] = FORMATS) -> list[Path]:
    """The data files at `location` (a file, or a folder searched one level deep), by name.

    Raises `SalusError` where nothing is there to read.
    """
    if location.is_file():
        named = {*suffixes, *NAMED_FORMATS}
        if location.suffix.lower() not in named:
            raise SalusError(f"{location} is not one of {', '.join(sorted(named))}: convert it, or name another file.")
        return [location]
    if not location.is_dir():
        raise SalusError(f"{location} does not exist: give a data file or a folder with some.")
    shown = (path for path in location.iterdir() if not path.name.startswith("."))
    found = sorted(path for path in shown if path.suffix.lower() in suffixes)
    if not found:
        raise SalusError(f"{location} holds no {', '.join(suffixes)} file: name the folder with the data.")
    return found


def rows_at(location: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of one file, or of all data files in a folder (`.json` only where it is named itself).

    Raises `SalusError` for a missing path, and as `rows_of`.
    """
    for file in data_files(location):
        yield from rows_of(file, columns)


def files_of_sides(location: Path, sides: Sequence[str]) -> list[Path]:
    """The data files of a folder, or of its folder `data`, whose names begin with one of `sides`, by name.

    So the hub lays out train and test. Raises `SalusError` where there are none.
    """
    folder = location / "data" if (location / "data").is_dir() else location
    wanted = [file for file in data_files(folder) if file.name.lower().startswith(tuple(sides))]
    if not wanted:
        names = " or ".join(f"{side}*" for side in sides)
        raise SalusError(f"{folder} holds no file called {names}: rename the files so, or name one file.")
    return wanted


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is spelled most like `name`, whatever its case; None where there is none."""
    by_lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.0)
    return by_lower[close[0]] if close else None


def require_columns(required: Iterable[str], present: Sequence[str], place: str) -> None:
    """Refuse a file without a required column, naming the existing column that is spelled most like it."""
    for column in required:
        if column not in present:
            close = nearest(column, present)
            hint = f"the nearest one there is '{close}'" if close else "it has no columns at all"
            raise SalusError(f"{place}: there is no column '{column}', {hint}; rename it or map it.")


def rows_of(path: Path, required: Sequence[str]) -> Iterator[Row]:
    """The rows of one file by its suffix, each holding at least the `required` columns.

    Raises `SalusError` for a missing, empty, wrongly encoded or malformed file, naming the line.
    """
    if not path.is_file():
        raise SalusError(f"{path} does not exist: check the path of the data file.")
    if path.stat().st_size == 0:
        raise SalusError(f"{path} is empty: download it again or leave it out.")
    suffix = path.suffix.lower()
    readers = {
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".jsonl": _jsonl_rows,
        ".parquet": _parquet_rows,
        ".json": _json_rows,
    }
    if suffix not in readers:
        raise SalusError(f"{path} is not one of {', '.join(NAMED_FORMATS)}: convert it, or name another file.")
    count = 0
    for count, row in enumerate(readers[suffix](path, required), start=1):  # noqa: B007
        yield row
    if count == 0:
        raise SalusError(f"{path} has no data rows: download it again or leave it out.")


def _decoded(path: Path, file: BinaryIO) -> Iterator[str]:
    """Lines of a UTF-8 text, endings kept, decoded one by one so that a bad byte has a line number."""
    for number, raw in enumerate(file, start=1):
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise SalusError(
                f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8."
            ) from error


def _csv_rows(path: Path, required: Sequence[str]) -> Iterator[Row]:
    with path.open("rb") as file:
        records = _without_blanks(path, _csv_records(path, _decoded(path, file)))
        _, header = next(records, (1, []))
        require_columns(required, header, f"{path}, line 1")
        for line, cells in records:
            row = Row(dict(zip(header, cells, strict=False)), str(path), line)
            if len(cells) != len(header):
                row.fail(f"{len(cells)} fields where the header has {len(header)}; check commas and quotes.")
            yield row


def _csv_records(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """The cells of each record and the line it begins on; a blank line has no cells."""
    csv.field_size_limit(_LONGEST_CELL)
    header = next(lines, "")
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(chain((header,), lines), strict=True, delimiter=delimiter)
    start = 1
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        if "\r" in header.rstrip("\r\n"):
            raise SalusError(
                f"{path}, line 1: its lines end as those of old Macs do; save it with Unix or Windows line endings."
            ) from error
        raise SalusError(
            f"{path}, line {start}: the record that begins here is not valid CSV ({error}); mend its quotes."
        ) from error


def _jsonl_rows(path: Path, required: Sequence[str]) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in _without_blanks(path, _stripped(_decoded(path, file))):
            yield _json_row(_parsed(line, f"{path}, line {number}"), required, path, number)


def _json_rows(path: Path, required: Sequence[str]) -> Iterator[Row]:
    """One array of objects, held in memory, or one object a line."""
    with path.open("rb") as file:
        is_array = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
        file.seek(0)
        text = "".join(_decoded(path, file)) if is_array else ""
    if not is_array:
        yield from _jsonl_rows(path, required)
        return
    for line, values in array_items(text, str(path)):
        yield _json_row(values, required, path, line)


def _stripped(lines: Iterator[str]) -> Iterator[tuple[int, str]]:
    return ((number, line.strip()) for number, line in enumerate(lines, start=1))


def _parsed(line: str, place: str) -> object:
    try:
        values: object = json.loads(line)
    except json.JSONDecodeError as error:
        raise SalusError(f"{place}: not valid JSON ({error.msg} at column {error.colno}); mend the line.") from error
    return values


def _json_row(values: object, required: Sequence[str], path: Path, line: int) -> Row:
    place = f"{path}, line {line}"
    if not isinstance(values, dict):
        raise SalusError(
            f"{place}: a {type(values).__name__} where an object with columns is expected; "
            "write one JSON object a line."
        )
    require_columns(required, list(values), place)
    return Row(values, str(path), line)


def _without_blanks(path: Path, records: Iterator[tuple[int, Content]]) -> Iterator[tuple[int, Content]]:
    """The records as they are; blank ones are let pass at the end of the file only."""
    blank = 0
    for line, content in records:
        if not content:
            blank = blank or line
            continue
        if blank:
            raise SalusError(f"{path}, line {blank}: the row is empty; delete the line.")
        yield line, content


def _parquet_rows(path: Path, required: Sequence[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            require_columns(required, file.schema_arrow.names, str(path))
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, str(path), number, unit="row")
    except (pa.ArrowInvalid, OSError) as error:
        raise SalusError(f"{path} is not a readable Parquet file ({error}); download it again.") from error


def array_items(text: str, file: str) -> Iterator[tuple[int, object]]:
    """(line, value) of each item of the array that `text` holds; `file` is what faults name.

    Raises `SalusError` where the text is not one whole JSON array, naming the line.
    """
    decoder = json.JSONDecoder()
    at = _after_gap(text, 0)
    if text[at : at + 1] != "[":
        raise SalusError(f"{file}, line {_line(text, at)}: there is no JSON array; write one, or one object a line.")
    at = _after_gap(text, at + 1)
    line = _line(text, at)
    ended = text[at : at + 1] == "]"
    while not ended:
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise SalusError(
                f"{file}, line {error.lineno}: not valid JSON ({error.msg} at column {error.colno}); mend the file."
            ) from error
        yield line, value
        end = _after_gap(text, end)
        ended = text[end : end + 1] == "]"
        if not ended and text[end : end + 1] != ",":
            raise SalusError(f"{file}, line {_line(text, end)}: ',' or ']' is missing after an item; mend the file.")
        start, at = at, end if ended else _after_gap(text, end + 1)
        line += text.count("\n", start, at)
    rest = _after_gap(text, at + 1)
    if rest < len(text):
        raise SalusError(f"{file}, line {_line(text, rest)}: there is more after the array; mend the file.")


def _after_gap(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    assert match is not None  # the pattern also fits nothing at all
    return match.end()


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
