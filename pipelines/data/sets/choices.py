"""Multiple-choice questions of CareQA, MedQA and PubMedQA: whether a policy still knows its medicine.

Columns are read as published:
- CareQA (arXiv 2502.06666): `op1` to `op4` with `cop` from 1.
- MedQA (arXiv 2009.13081): `options` by letter with `answer_idx`.
- PubMedQA (arXiv 1909.06146): `final_decision` is yes, no or maybe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from actors.contract.records import Record
from pipelines.data.fields import one_of, structure, text, whole_number
from pipelines.data.rows import Row, rows_at

ChoiceSource = Literal["careqa", "medqa", "pubmedqa"]
CHOICE_SOURCES: tuple[ChoiceSource, ...] = ("careqa", "medqa", "pubmedqa")
DECISIONS: tuple[Literal["yes", "no", "maybe"], ...] = ("yes", "no", "maybe")
_CAREQA_OPTIONS = ("op1", "op2", "op3", "op4")


class ChoiceQuestion(Record):
    """One question with its options; `answer` is the right one's index, from 0."""

    question: str = Field(min_length=1)
    options: tuple[str, ...] = Field(min_length=2)
    answer: int = Field(ge=0)
    # What the question is asked about (PubMedQA: the abstract without its conclusion).
    context: str | None = None
    # MedQuAD's are made (`pipelines.measures.capability.medquad_choices`), not read.
    source: ChoiceSource | Literal["medquad"]

    @model_validator(mode="after")
    def _answer_is_an_option(self) -> Self:
        if self.answer >= len(self.options):
            raise ValueError(f"answer {self.answer} is none of {len(self.options)} options")
        return self


def read_choices(location: Path, source: ChoiceSource) -> Iterator[ChoiceQuestion]:
    """The questions of one file, or of all data files in a folder (`.json` only where it is named itself).

    Raises `SalusError` for a missing path, a column that is not there, and a bad row.
    """
    form = _FORMATS[source]
    yield from map(form.read, rows_at(location, form.columns))


def _careqa(row: Row) -> ChoiceQuestion:
    options = tuple(text(row, column) for column in _CAREQA_OPTIONS)
    answer = whole_number(row, "cop", 1, len(options)) - 1
    return ChoiceQuestion(question=text(row, "question"), options=options, answer=answer, source="careqa")


def _medqa(row: Row) -> ChoiceQuestion:
    options = _lettered(row, structure(row, "options"))
    letter = one_of(row, "answer_idx", tuple(options))
    answer = list(options).index(letter)
    return ChoiceQuestion(
        question=text(row, "question"), options=tuple(options.values()), answer=answer, source="medqa"
    )


def _pubmedqa(row: Row) -> ChoiceQuestion:
    answer = DECISIONS.index(one_of(row, "final_decision", DECISIONS))
    return ChoiceQuestion(
        question=text(row, "question"), options=DECISIONS, answer=answer, context=_context(row), source="pubmedqa"
    )


def _lettered(row: Row, options: object) -> dict[str, str]:
    """Options by letter, in the letters' order; a letter without text (a Parquet column others use) is left out."""
    if not isinstance(options, Mapping):
        row.fail('\'options\' is not an object of letters and texts, as {"A": ..., "B": ...}.')
    filled = {str(letter): value for letter, value in options.items() if value is not None}
    if len(filled) < 2 or not all(isinstance(value, str) and value.strip() for value in filled.values()):
        row.fail("'options' needs at least two letters, each with a text; mend them or drop the row.")
    return {letter: filled[letter].strip() for letter in sorted(filled)}


def _context(row: Row) -> str | None:
    """The paragraphs of `context` in one text; published as an object whose `contexts` holds them."""
    value = structure(row, "context")
    if isinstance(value, Mapping):
        value = value.get("contexts")
    if value is None or isinstance(value, str):
        return value.strip() or None if isinstance(value, str) else None
    if not isinstance(value, Sequence) or not all(isinstance(part, str) for part in value):
        row.fail("'context' is neither a text nor an object whose 'contexts' are texts; mend it or drop the row.")
    return "\n".join(part.strip() for part in value) or None


class _Format(NamedTuple):
    columns: tuple[str, ...]
    read: Callable[[Row], ChoiceQuestion]


_FORMATS: dict[ChoiceSource, _Format] = {
    "careqa": _Format(("question", *_CAREQA_OPTIONS, "cop"), _careqa),
    "medqa": _Format(("question", "options", "answer_idx"), _medqa),
    "pubmedqa": _Format(("question", "context", "final_decision"), _pubmedqa),
}
