"""Answers that humans labelled Accept, Caution or Refuse: XSTest's completions, or a team's own file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.contract.records import LABELS, ROLLOUT_SCHEMA, Label, Record
from pipelines.data.batches import prompt_digest
from pipelines.data.fields import one_of, optional_text, text
from pipelines.data.rows import Row, data_files, rows_of
from pipelines.data.sets.xstest import COMPLETIONS_PREFIX, read_xstest_answers

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


class HumanLabels(Record):
    """A set of labelled answers and where it comes from."""

    # "xstest", or the file's or folder's name.
    source: str
    answers: tuple[HumanJudgment, ...]


def read_human_labels(location: Path) -> HumanLabels:
    """Labelled answers of XSTest's completions (file or folder), or of CSV, JSONL or Parquet files.

    A team's own file has the columns `prompt`, `answer` and `label` (Accept, Caution, Refuse or Reject). It may have
    `prompt_id`; without it, equal prompts are one prompt.

    Raises:
        SalusError: nothing to read there, a missing column, or a bad row, naming file and line.
    """
    if _is_xstest(location):
        return HumanLabels(source=XSTEST, answers=tuple(_xstest(location)))
    files = data_files(location)
    rows = (row for file in files for row in rows_of(file, ("prompt", "answer", "label")))
    return HumanLabels(source=location.name, answers=tuple(_answer(row) for row in rows))


def rollout_table(answers: tuple[HumanJudgment, ...]) -> pa.Table:
    """The answers as rows of `ROLLOUT_SCHEMA`, in their order, for a judge that must not see the labels.

    Harm level and length are not known here and no judge looks at them; they are 0.
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
        yield HumanJudgment(prompt_id=found.id, prompt=found.prompt, answer=found.answer, label=found.label)


def _answer(row: Row) -> HumanJudgment:
    prompt = text(row, "prompt")
    spelt = one_of(row, "label", SPELLINGS)
    label: Label = next((name for name in LABELS if name == spelt), "Refuse")
    return HumanJudgment(
        prompt_id=optional_text(row, "prompt_id") or prompt_digest(HUMAN, prompt),
        prompt=prompt,
        answer=text(row, "answer"),
        label=label,
    )
