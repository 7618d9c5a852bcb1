"""Questions shaped as BBQ's (Parrish et al. 2022, arXiv 2110.08193): two people, and an answer "cannot be known".

An ambiguous context does not say which of the two is meant, so that only the unknown answer is right. A disambiguated
one says it. The biased answer is the stereotyped group's in a negative question, and the other group's in a
non-negative one.

BBQ's own files are read as published: groups of the options in `answer_info`, and the stereotyped groups in
`additional_metadata`. Group names are compared as lm-evaluation-harness compares them (its task `bbq`). Any other set
is read by a mapping of its columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import Record
from pipelines.data.fields import one_of, optional_text, structure, text, whole_number
from pipelines.data.rows import Row, rows_at

Condition = Literal["ambig", "disambig"]
CONDITIONS: tuple[Condition, ...] = ("ambig", "disambig")
Polarity = Literal["neg", "nonneg"]
POLARITIES: tuple[Polarity, ...] = ("neg", "nonneg")
OPTIONS = 3
_INFO, _METADATA = "answer_info", "additional_metadata"
# What BBQ's `answer_info` calls the answer that chooses no one.
_UNKNOWN = "unknown"
# Crossed groups have a mark between them, and words that name a sex stand for its letter.
_CROSSED = (("M-", "M_"), ("F-", "F_"), ("lowSES-", "lowSES_"), ("highSES-", "highSES_"))
_SPELLED = (
    ("lowSES", "low SES"),
    ("highSES", "high SES"),
    ("nonObese", "non Obese"),
    ("nonDisabled", "non Disabled"),
    ("nonTrans", "non Trans"),
)


class BiasColumns(BaseModel):
    """Which column holds which part of a question; BBQ's own names unless set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: str = Field("context", description="Column with what is told before the question.")
    question: str = Field("question", description="Column with the question.")
    options: tuple[str, str, str] = Field(
        ("ans0", "ans1", "ans2"), description="Columns with the three options, one of which is unknown."
    )
    label: str = Field("label", description="Column with the right option's index, from 0.")
    condition: str = Field("context_condition", description="Column with ambig or disambig.")
    polarity: str = Field("question_polarity", description="Column with neg or nonneg.")
    category: str = Field("category", description="Column with the kind of bias, as Age.")
    unknown: str | None = Field(
        None, description="Column with the unknown option's index; without it BBQ's answer_info tells."
    )
    target: str | None = Field(
        None,
        description="Column with the stereotyped option's index; without it BBQ's answer_info and additional_metadata"
        " tell.",
    )
    template: str | None = Field(
        "question_index",
        description="Column that numbers a category's templates: their questions are resampled, and split, together."
        " Where a row has none, its question is the template.",
    )

    def required(self) -> tuple[str, ...]:
        """The columns every row must have."""
        own = (self.context, self.question, *self.options, self.label, self.condition, self.polarity, self.category)
        mapped = tuple(column for column in (self.unknown, self.target) if column is not None)
        # BBQ's groups are not read where both indices are mapped.
        derived = (() if len(mapped) == 2 else (_INFO,)) + (() if self.target is not None else (_METADATA,))
        return (*own, *mapped, *derived)


class BiasQuestion(Record):
    """One question; `answer`, `unknown` and `biased` are indices of its options, from 0."""

    context: str = Field(min_length=1)
    question: str = Field(min_length=1)
    options: tuple[str, str, str]
    answer: int = Field(ge=0, lt=OPTIONS)
    unknown: int = Field(ge=0, lt=OPTIONS)
    # None where the set does not tell the stereotyped group from the other: it counts for accuracy alone.
    biased: int | None
    condition: Condition
    category: str
    # Questions of one template differ in names and order alone.
    template: str


def read_bias(location: Path, columns: BiasColumns | None = None) -> Iterator[BiasQuestion]:
    """The questions of one file, or of all data files in a folder (`.json` only where it is named itself).

    Raises `SalusError` for a missing path, a column that is not there, and a bad row.
    """
    mapping = columns or BiasColumns()
    for row in rows_at(location, mapping.required()):
        yield _question(row, mapping)


def _question(row: Row, mapping: BiasColumns) -> BiasQuestion:
    first, second, third = (text(row, column) for column in mapping.options)
    groups = None if mapping.unknown is not None and mapping.target is not None else _groups(row, mapping)
    unknown = _index(row, mapping.unknown) if mapping.unknown is not None else _unknown(row, groups)
    answer = _index(row, mapping.label)
    condition = one_of(row, mapping.condition, CONDITIONS)
    if condition == "ambig" and answer != unknown:
        row.fail(f"'{mapping.label}' is {answer} in an ambiguous context, where only option {unknown} can be right.")
    category = text(row, mapping.category)
    template = None
    if mapping.template is not None:
        held = row.values.get(mapping.template)
        template = str(held) if isinstance(held, int) else optional_text(row, mapping.template)
    return BiasQuestion(
        context=text(row, mapping.context),
        question=text(row, mapping.question),
        options=(first, second, third),
        answer=answer,
        unknown=unknown,
        biased=_biased(row, mapping, unknown, groups),
        condition=condition,
        category=category,
        template=f"{category}/{template or text(row, mapping.question)}",
    )


def _index(row: Row, column: str) -> int:
    return whole_number(row, column, 0, OPTIONS - 1)


def _biased(row: Row, mapping: BiasColumns, unknown: int, groups: Sequence[frozenset[str]] | None) -> int | None:
    """The option that the bias would choose; None where the groups do not tell."""
    people = [place for place in range(OPTIONS) if place != unknown]
    if mapping.target is not None:
        targets = [_index(row, mapping.target)]
        if targets[0] == unknown:
            row.fail(f"'{mapping.target}' is {unknown}, the unknown option; give the stereotyped one's index.")
    else:
        assert groups is not None
        stereotyped = _stereotyped(row)
        targets = [place for place in people if groups[place] & stereotyped]
    if len(targets) != 1:
        return None
    (other,) = (place for place in people if place not in targets)
    return targets[0] if one_of(row, mapping.polarity, POLARITIES) == "neg" else other


def _unknown(row: Row, groups: Sequence[frozenset[str]] | None) -> int:
    found = [place for place, names in enumerate(groups or ()) if _UNKNOWN in names]
    if len(found) != 1:
        row.fail(f"'{_INFO}' calls {len(found)} options unknown where one is expected; mend it, or map 'unknown'.")
    return found[0]


def _groups(row: Row, mapping: BiasColumns) -> tuple[frozenset[str], ...]:
    """The groups that each option names, in small letters."""
    info = structure(row, _INFO)
    if not isinstance(info, Mapping):
        row.fail(f"'{_INFO}' is not an object of options and their groups; mend it, or map 'unknown' and 'target'.")
    # BBQ's keys are its own columns' names, whatever a copy calls them.
    return tuple(
        _named(row, info.get(f"ans{place}", info.get(column))) or frozenset({text(row, column).lower()})
        for place, column in enumerate(mapping.options)
    )


def _named(row: Row, words: object) -> frozenset[str]:
    if words is None:
        return frozenset()
    if not isinstance(words, Sequence) or isinstance(words, str) or not all(isinstance(word, str) for word in words):
        row.fail(f"'{_INFO}' holds a value that is no list of texts; mend it or drop the row.")
    name = "_".join(words)
    for crossed, parted in _CROSSED:
        name = name.replace(crossed, parted)
    for short, long in _SPELLED:
        name = name.replace(short, long)
    # A woman is no man, though the word holds his.
    name = name.replace("woman", "F_woman") if "woman" in name else name.replace("man", "M_man")
    name = name.replace("girl", "F_girl").replace("boy", "M_boy")
    return frozenset(part for part in name.lower().split("_") if part)


def _stereotyped(row: Row) -> frozenset[str]:
    found = structure(row, _METADATA)
    named = found.get("stereotyped_groups") if isinstance(found, Mapping) else None
    if not isinstance(named, Sequence) or isinstance(named, str) or not all(isinstance(each, str) for each in named):
        row.fail(f"'{_METADATA}' has no list 'stereotyped_groups'; mend it, or map 'target'.")
    return frozenset(each.lower() for each in named)
