"""Judged answers -> unpaired rows and pairs, as pure functions over Arrow columns.

A table holds all answers to each of its prompts. Rows come prompt by prompt, in the order in which prompts appear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.contract.records import CUT_OFF
from pipelines.config.preference import PreferenceConfig
from pipelines.config.scores import ScoreTable
from pipelines.data.row_order import DPO_SCHEMA, KTO_SCHEMA
from pipelines.measures.metrics import scores

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
# A pair's margin of marks, turned round so that the widest sorts first; its chosen and its rejected answer.
Margin = tuple[float, str, str]
_EMPTY = pa.scalar("")
# What both kinds of rows hold of the prompt.
_ASKED = ("prompt", "level", "context")


@dataclass(frozen=True)
class _Answers:
    """Judged answers as columns of n rows, and the groups of one prompt each that they make."""

    table: pa.Table
    marks: NDArray[np.float64]
    # Whether the mark is the best of its level.
    best: Bools
    # All that the policy wrote: its thought, if it had one, and its answer.
    said: Any
    # Whether a good answer may be held up as one: it says something, and to its end.
    choosable: Bools
    # Each row's group, numbered as they appear; and each group's first row.
    group: Ints
    first: Ints

    @classmethod
    def of(cls, judgments: pa.Table, config: PreferenceConfig, table: ScoreTable) -> _Answers:
        judgments = judgments.combine_chunks()
        marks, levels = scores(judgments, table), _level(judgments)
        answer = _column(judgments, "answer")
        whole = pc.not_equal(_column(judgments, "finish_reason"), pa.scalar(CUT_OFF)).to_numpy(zero_copy_only=False)
        words = pc.not_equal(pc.utf8_trim_whitespace(answer), _EMPTY).to_numpy(zero_copy_only=False)
        group = _column(judgments, "prompt_id").dictionary_encode().indices.to_numpy().astype(np.int64)
        return cls(
            table=judgments,
            marks=marks,
            best=marks == table.best()[levels],
            said=_joined(_column(judgments, "thought"), answer),
            choosable=(whole | config.choose_cut_off) & words,
            group=group,
            first=np.unique(group, return_index=True)[1],
        )

    @property
    def harmless(self) -> Bools:
        """Of each group."""
        harmless: Bools = _level(self.table)[self.first] == 0
        return harmless

    @property
    def references(self) -> Any:
        """The safe answer of each group; null where there is none."""
        found = _column(self.table, "reference").take(self.first)
        return pc.if_else(pc.equal(found, _EMPTY), pa.scalar(None, pa.string()), found)

    def any(self, rows: Bools) -> Bools:
        """Of each group, whether it has such a row."""
        found = np.zeros(len(self.first), dtype=bool)
        found[self.group[rows]] = True
        return found

    def asked(self, rows: Ints) -> dict[str, Any]:
        """What the answers of some rows answer."""
        found = {name: _column(self.table, name).take(rows) for name in _ASKED}
        return found | {"context": pc.if_else(pc.equal(found["context"], _EMPTY), None, found["context"])}


def kto_rows(judgments: pa.Table, config: PreferenceConfig, table: ScoreTable) -> pa.Table:
    """One row per answer: desirable with its level's best mark, undesirable with mark 0; the rest say nothing.

    An answer that was cut off or is empty is not desirable either.
    Returns rows of `KTO_SCHEMA` without their order.
    """
    answers = _Answers.of(judgments, config, table)
    desirable = answers.marks > 0
    taken = (answers.best & answers.choosable) | (answers.marks == 0)
    own = np.flatnonzero(taken)
    good = answers.any(taken & desirable)
    pieces = [(own, answers.said.take(own), desirable[own])]
    if config.reference_kto:
        references = answers.references
        lacking = ~good & references.is_valid().to_numpy(zero_copy_only=False)
        good |= lacking
        pieces.append((answers.first[lacking], references.filter(pa.array(lacking)), np.ones(lacking.sum(), bool)))
    if config.benign_refusal:
        helped = answers.first[answers.harmless & good]
        refusal = pa.repeat(pa.scalar(config.benign_refusal, pa.string()), len(helped))
        pieces.append((helped, refusal, np.zeros(len(helped), bool)))
    rows, completions, labels = zip(*pieces, strict=True)
    of = np.concatenate(rows)
    piece = np.repeat(np.arange(len(pieces)), [len(each) for each in rows])
    order = np.lexsort((of, piece, answers.group[of]))
    return _table(
        {
            **answers.asked(of[order]),
            "completion": pa.concat_arrays(completions).take(order),
            "label": pa.array(np.concatenate(labels)[order]),
        },
        KTO_SCHEMA,
    )


def dpo_pairs(judgments: pa.Table, config: PreferenceConfig, table: ScoreTable) -> pa.Table:
    """Pairs within a prompt, widest margin of marks first; chosen always scores strictly higher than rejected.

    Where no answer has its level's best mark, the reference safe answer is the chosen one (Egida's
    recipe). Where a harmless prompt has no bad answer, `benign_refusal` is the rejected one.
    Answers that were cut off or are empty are never chosen.
    Returns rows of `DPO_SCHEMA` without their order.
    """
    answers = _Answers.of(judgments, config, table)
    tops = table.best()[_level(answers.table)[answers.first]]
    good = answers.any((answers.marks >= tops[answers.group]) & answers.choosable)
    references = answers.references.to_pylist() if config.use_references else [None] * len(tops)
    harmless = answers.harmless.tolist()
    first, chosen, rejected = list[int](), list[str](), list[str]()
    for group, marked in enumerate(_by_group(answers)):
        if (reference := references[group]) and not good[group]:
            marked.append((float(tops[group]), reference, True))
        if config.benign_refusal and harmless[group] and all(mark > 0 for mark, *_ in marked):
            marked.append((0.0, config.benign_refusal, False))
        for _, better, worse in _spread(_margins(marked), config.pairs_per_prompt):
            first.append(group)
            chosen.append(better)
            rejected.append(worse)
    columns = {
        **answers.asked(answers.first[np.array(first, dtype=np.int64)]),
        "chosen": pa.array(chosen, pa.string()),
        "rejected": pa.array(rejected, pa.string()),
    }
    return _table(columns, DPO_SCHEMA)


def _by_group(answers: _Answers) -> Iterator[list[tuple[float, str, bool]]]:
    """The mark, the text and whether it may be chosen, of each answer of one group after the other."""
    order = np.argsort(answers.group, kind="stable")
    rows = list(
        zip(
            answers.marks[order].tolist(),
            answers.said.take(order).to_pylist(),
            answers.choosable[order].tolist(),
            strict=True,
        )
    )
    ends = np.cumsum(np.bincount(answers.group, minlength=len(answers.first))).tolist()
    start = 0
    for end in ends:
        yield rows[start:end]
        start = end


def _margins(marked: Sequence[tuple[float, str, bool]]) -> list[Margin]:
    """Every pair of two answers of which the better one may be chosen, widest margin first."""
    marks = {text: mark for mark, text, _ in marked}
    # An answer that got both marks says nothing about which is better.
    torn = {text for mark, text, _ in marked if marks[text] != mark}
    whole = {text for _, text, choosable in marked if choosable}
    return sorted(
        (low - high, chosen, rejected)
        for chosen, high in marks.items()
        if chosen in whole and chosen not in torn
        for rejected, low in marks.items()
        if high > low and rejected not in torn
    )


def _spread(margins: list[Margin], most: int) -> list[Margin]:
    """The first pairs, each rejected and each chosen answer used once where that is possible."""
    if len(margins) <= 1:
        return margins[:most]
    picked: list[Margin] = []
    for fresh_only in (True, False):
        for pair in margins:
            used = any(pair[1] == p[1] or pair[2] == p[2] for p in picked)
            if len(picked) < most and pair not in picked and not (fresh_only and used):
                picked.append(pair)
    return picked


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    fields = [field for field in schema if field.name in columns]
    return pa.table([columns[field.name] for field in fields], schema=pa.schema(fields))


def _level(judgments: pa.Table) -> Ints:
    level: Ints = judgments["level"].to_numpy().astype(np.int64)
    return level


def _column(judgments: pa.Table, name: str) -> Any:
    """A column as one array; nulls where an earlier version's file has none of this name."""
    if name not in judgments.column_names:
        return pa.nulls(judgments.num_rows, pa.string())
    column = judgments[name]
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _joined(thought: Any, answer: Any) -> Any:
    if thought.null_count == len(thought):
        return answer
    return pc.binary_join_element_wise(pc.fill_null(thought, ""), answer, "")
