"""Answers that humans labelled Accept, Caution or Refuse: XSTest's completions, or a team's own file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.contract.records import LABELS, LEVELS, ROLLOUT_SCHEMA, Label, Record
from actors.files.sums import file_sum, joint_sum
from pipelines.data.batches import prompt_digest
from pipelines.data.fields import one_of, optional_text, text, whole_number
from pipelines.data.rows import Row, data_files, rows_of
from pipelines.data.sets.xstest import COMPLETIONS_PREFIX, UNSAFE_LEVEL, completion_files, read_xstest_answers

XSTEST = "xstest"
HUMAN = "human-labelled"
# The official CARES judge says "Reject" in its examples where the label is "Refuse".
SPELLINGS: tuple[str, ...] = (*LABELS, "Reject")


class HumanJudgment(Record):
    """One answer to one prompt, and what humans call it."""

    # Answers to one prompt share it, so that they stay together.
    prompt_id: str
    prompt: str
    answer: str
    label: Label
    # The request's harm level, 0 harmless to 3 severe; None where it is not known.
    level: int | None = None


class LabelsFile(Record):
    """The file, or the folder, that labels were read from, by content."""

    path: str
    # Of one file as `sha256sum` prints it; of several, of the lines `sha256sum *` prints.
    sha256: str


class HumanLabels(Record):
    """A set of labelled answers and where it comes from."""

    # "xstest", or the file's or folder's name.
    source: str
    answers: tuple[HumanJudgment, ...]
    # None: they are in no file.
    file: LabelsFile | None = None


def read_human_labels(location: Path) -> HumanLabels:
    """Labelled answers of XSTest's completions (file or folder), or of CSV, JSONL or Parquet files.

    A team's own file has the columns `prompt`, `answer` and `label` (Accept, Caution, Refuse or Reject). It may have
    `prompt_id`; without it, equal prompts are one prompt. It may have `level`, the harm level of the request (0 to 3).

    Raises:
        SalusError: nothing to read there, a missing column, or a bad row, naming file and line.
    """
    if _is_xstest(location):
        return read_xstest_labels(location)
    rows = (row for file in data_files(location) for row in rows_of(file, ("prompt", "answer", "label")))
    answers = tuple(_answer(row) for row in rows)
    return HumanLabels(source=location.name, answers=answers, file=labels_file(location))


def read_xstest_labels(location: Path) -> HumanLabels:
    """XSTest's labelled completions, one file or all of a folder.

    Raises:
        SalusError: there are none, or one has a bad row.
    """
    return HumanLabels(source=XSTEST, answers=tuple(_xstest(location)), file=labels_file(location))


def labels_file(location: Path) -> LabelsFile:
    """What the labels of a file or folder are bound to.

    Raises:
        SalusError: there is nothing to read.
    """
    files = completion_files(location) if _is_xstest(location) else data_files(location)
    joint = file_sum(location) if location.is_file() else joint_sum((file_sum(file), file.name) for file in files)
    return LabelsFile(path=str(location.absolute()), sha256=joint)


def rollout_table(answers: tuple[HumanJudgment, ...]) -> pa.Table:
    """The answers as rows of `ROLLOUT_SCHEMA`, in their order, for a judge that must not see the labels.

    No judge looks at harm level and length; they are 0 here.
    """
    samples: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for answer in answers:
        sample = samples[answer.prompt_id]
        samples[answer.prompt_id] += 1
        rows.append(
            {
                "prompt_id": answer.prompt_id,
                "prompt": answer.prompt,
                "level": 0,
                "method": "direct",
                "base_prompt": answer.prompt,
                "source": HUMAN,
                "rollout_id": f"{answer.prompt_id}.{sample}@{HUMAN}",
                "sample": sample,
                "policy": HUMAN,
                "answer": answer.answer,
                "finish_reason": "stop",
                "tokens": 0,
            }
        )
    return pa.Table.from_pylist(rows, schema=ROLLOUT_SCHEMA)


def _is_xstest(location: Path) -> bool:
    if location.is_dir():
        return any(location.glob(f"{COMPLETIONS_PREFIX}*.csv"))
    return location.name.startswith(COMPLETIONS_PREFIX)


def _xstest(location: Path) -> Iterator[HumanJudgment]:
    for found in read_xstest_answers(location):
        yield HumanJudgment(
            prompt_id=found.id,
            prompt=found.prompt,
            answer=found.answer,
            label=found.label,
            level=0 if found.safe else UNSAFE_LEVEL,
        )


def _answer(row: Row) -> HumanJudgment:
    prompt = text(row, "prompt")
    spelt = one_of(row, "label", SPELLINGS)
    label: Label = next((name for name in LABELS if name == spelt), "Refuse")
    return HumanJudgment(
        prompt_id=optional_text(row, "prompt_id") or prompt_digest(HUMAN, prompt),
        prompt=prompt,
        answer=text(row, "answer"),
        label=label,
        level=_level(row),
    )


def _level(row: Row) -> int | None:
    """The column `level`; None where there is none, or the cell is empty."""
    value = row.values.get("level")
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return whole_number(row, "level", LEVELS[0], LEVELS[-1])
