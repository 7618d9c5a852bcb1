"""The judged answers and the pairs of a run, for programs outside of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.conversation import transcripts
from actors.contract.records import JUDGMENT_SCHEMA, PromptSet, Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder, strings

SETS: tuple[PromptSet, ...] = get_args(PromptSet)


class Wanted(Record):
    """Which answers are taken; empty: all."""

    prompts: tuple[PromptSet, ...] = ()
    policies: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnswerSet:
    """Answers of one policy to one set of prompts, with the labels of one judge; rows of `JUDGMENT_SCHEMA`."""

    prompts: PromptSet
    # Of answers to train prompts; None: greedy answers of an evaluation.
    cycle: int | None
    policy: str
    judge: str
    table: pa.Table
    # Where they are in the run.
    folder: Path


def prompt_sets(names: Sequence[str]) -> tuple[PromptSet, ...]:
    """Sets of prompts by their names. Raises SalusError for a name that none has."""
    for name in names:
        if name not in SETS:
            raise SalusError(f"There is no set of prompts {name!r}; name one of {', '.join(SETS)}.")
    return tuple(each for each in SETS if each in names)


def answer_sets(folder: RunFolder, wanted: Wanted) -> list[AnswerSet]:
    """The judged answers of a run, in the order of its folders.

    Raises:
        SalusError: there are none of those that are wanted.
    """
    found = [each for place in folder.judged() for each in _sets(folder, place, wanted)]
    if not found:
        asked = ", ".join((*wanted.prompts, *wanted.policies))
        raise SalusError(
            f"{folder.root} has no judged answers{f' of {asked}' if asked else ''}; salus runs show names its policies."
        )
    return found


def answers_table(sets: Sequence[AnswerSet]) -> pa.Table:
    """All answers as one table: `prompts`, `cycle`, then the columns of `JUDGMENT_SCHEMA`."""
    return pa.concat_tables([_named(each) for each in sets])


def pairs_table(folder: RunFolder, cycles: int) -> pa.Table | None:
    """The preference pairs of all cycles with their `cycle`; None where the run trained on none."""
    tables = []
    for cycle in range(1, cycles + 1):
        place = folder.rows(cycle, "pairs")
        if place.is_dir() and any(place.glob("*.parquet")):
            table = read_folder(place)
            tables.append(table.add_column(0, "cycle", pa.array([cycle] * table.num_rows, pa.int32())))
    return pa.concat_tables(tables, promote_options="default") if tables else None


def _sets(folder: RunFolder, place: Path, wanted: Wanted) -> Iterator[AnswerSet]:
    """The answers of one folder of judgments, a set for each policy."""
    parts = place.relative_to(folder.root).parts
    # cycles/CC/judgments, or evaluations/SPLIT/VERSION/judged_by/JUDGE.
    cycle = int(parts[1]) if parts[0] == "cycles" else None
    prompts: PromptSet = next((name for name in SETS if name == parts[1]), "train")
    if wanted.prompts and prompts not in wanted.prompts:
        return
    if cycle is None and wanted.policies and parts[2] not in wanted.policies:
        return
    table = _whole(read_folder(place))
    for policy in dict.fromkeys(strings(table, "policy")):
        if wanted.policies and policy not in wanted.policies:
            continue
        own = table.filter(pc.equal(table["policy"], pa.scalar(policy)))
        yield AnswerSet(prompts, cycle, policy, str(own["judge"][0]), own, place)


def _whole(table: pa.Table) -> pa.Table:
    """With every column of the schema: runs of earlier versions lack some, which are null."""
    for field in JUDGMENT_SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(JUDGMENT_SCHEMA.names).cast(JUDGMENT_SCHEMA)


def _named(found: AnswerSet) -> pa.Table:
    rows = found.table.num_rows
    table = found.table.add_column(0, "cycle", pa.array([found.cycle] * rows, pa.int32()))
    return table.add_column(0, "prompts", pa.array([found.prompts] * rows, pa.string()))


def requests(table: pa.Table) -> list[str]:
    """What each answer answers, as one text: a question, or a conversation with its roles."""
    return [str(each) for each in transcripts(table)]
