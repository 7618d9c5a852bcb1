"""What a data set holds: counts by level, method, principle, style and topic, lengths, repetitions, leaks, examples.

One pass over batches; it keeps a number for each distinct prompt and base prompt, never the prompts themselves.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import TOPIC_MARK, Record
from pipelines.data.split import group_key

Field = Literal["level", "method", "principle", "style", "topics"]
FIELDS: tuple[Field, ...] = get_args(Field)
EXAMPLE_CHARACTERS = 120
SHOWN_LEAKS = 5
NONE = "-"


class Count(Record):
    """How many rows of a split have one value; `NONE` stands for null."""

    field: Field
    value: str
    split: str
    rows: int


class Lengths(Record):
    """Prompt lengths of a split, in characters."""

    split: str
    rows: int
    shortest: int
    median: int
    p95: int
    longest: int


class Leak(Record):
    """A base prompt (cut to `EXAMPLE_CHARACTERS`) that two splits share."""

    base_prompt: str
    splits: tuple[str, str]


class Example(Record):
    """The first prompt of a level, in one line of at most `EXAMPLE_CHARACTERS`."""

    level: int
    split: str
    prompt: str


class Inspection(Record):
    """A data set's description; splits without rows are not in it."""

    counts: tuple[Count, ...]
    lengths: tuple[Lengths, ...]
    # Rows whose prompt is, letter by letter, in an earlier row of any split.
    duplicates: int
    # Base prompts in more than one split, and the first few of them.
    leaked: int
    leaks: tuple[Leak, ...]
    examples: tuple[Example, ...]

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(split.rows for split in self.lengths)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have rows, in the order given."""
        return tuple(split.split for split in self.lengths)


def inspect_splits(splits: Mapping[str, Iterable[pa.RecordBatch]]) -> Inspection:
    """Describe splits of `PROMPT_SCHEMA` batches; each batch is read once."""
    notes = _Notes()
    for split, batches in splits.items():
        for batch in batches:
            notes.add(split, batch)
    return notes.inspection()


def one_line(text: str, most: int = EXAMPLE_CHARACTERS) -> str:
    """The text with its white space in single blanks, cut to `most` characters with an ellipsis."""
    line = " ".join(text[: most * 8].split())
    cut = len(line) > most or len(text) > most * 8
    return line[: most - 1] + "…" if cut else line


class _Notes:
    """What is counted while the batches pass by."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Field, str, str]] = Counter()
        self._lengths: dict[str, Counter[int]] = {}
        self._prompts: set[int] = set()
        self._duplicates = 0
        self._owners: dict[int, str] = {}
        self._leaks: dict[int, Leak] = {}
        self._examples: dict[int, Example] = {}

    def add(self, split: str, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        for field in FIELDS:
            values = [NONE if value is None else str(value) for value in batch.column(field).to_pylist()]
            # A prompt counts in each of its topics.
            named = [name for value in values for name in (value.split(TOPIC_MARK) if field == "topics" else [value])]
            self._counts.update((field, name, split) for name in named)
        prompts = [str(prompt) for prompt in batch.column("prompt").to_pylist()]
        self._lengths.setdefault(split, Counter()).update(map(len, prompts))
        for prompt in prompts:
            digest = _digest(prompt)
            self._duplicates += digest in self._prompts
            self._prompts.add(digest)
        for base in pc.unique(batch.column("base_prompt")).to_pylist():
            self._own(split, str(base))
        self._exemplify(split, batch)

    def _own(self, split: str, base: str) -> None:
        digest = _digest(group_key(base))
        owner = self._owners.setdefault(digest, split)
        if owner != split and digest not in self._leaks:
            self._leaks[digest] = Leak(base_prompt=one_line(base), splits=(owner, split))

    def _exemplify(self, split: str, batch: pa.RecordBatch) -> None:
        levels = batch.column("level").to_pylist()
        for level in {int(str(value)) for value in levels} - set(self._examples):
            prompt = str(batch.column("prompt")[levels.index(level)].as_py())
            self._examples[level] = Example(level=level, split=split, prompt=one_line(prompt))

    def inspection(self) -> Inspection:
        order = {split: place for place, split in enumerate(self._lengths)}
        keys = sorted(self._counts, key=lambda key: (FIELDS.index(key[0]), key[1], order[key[2]]))
        return Inspection(
            counts=tuple(Count(field=f, value=v, split=s, rows=self._counts[f, v, s]) for f, v, s in keys),
            lengths=tuple(_lengths(split, counts) for split, counts in self._lengths.items()),
            duplicates=self._duplicates,
            leaked=len(self._leaks),
            leaks=tuple(self._leaks.values())[:SHOWN_LEAKS],
            examples=tuple(self._examples[level] for level in sorted(self._examples)),
        )


def _lengths(split: str, counts: Counter[int]) -> Lengths:
    return Lengths(
        split=split,
        rows=counts.total(),
        shortest=min(counts),
        median=_quantile(counts, 0.5),
        p95=_quantile(counts, 0.95),
        longest=max(counts),
    )


def _quantile(counts: Counter[int], share: float) -> int:
    """The smallest value that at least `share` of all values do not exceed (the inverse of their distribution)."""
    needed = share * counts.total()
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= needed:
            return value
    raise AssertionError("counts hold at least one value")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
