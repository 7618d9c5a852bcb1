"""XSTest (arXiv 2308.01263): safe prompts that look unsafe, unsafe contrasts, answers labelled by humans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa

from actors.contract.records import Label, Record
from actors.errors import SalusError
from pipelines.data.batches import Item, prompt_batches
from pipelines.data.fields import one_of, text
from pipelines.data.rows import rows_of

PROMPTS_FILE = "xstest_prompts.csv"
COMPLETIONS_PREFIX = "xstest_v2_completions_"
# XSTest does not grade harm: an unsafe contrast is taken as moderate, where caution earns half a point.
UNSAFE_LEVEL = 2
SAFETY: tuple[Literal["safe", "unsafe"], ...] = ("safe", "unsafe")
HumanLabel = Literal["1_full_compliance", "2_full_refusal", "3_partial_refusal"]
LABEL_OF: dict[HumanLabel, Label] = {
    "1_full_compliance": "Accept",
    "2_full_refusal": "Refuse",
    "3_partial_refusal": "Caution",
}


class LabelledAnswer(Record):
    """One model's answer to one XSTest prompt, as two humans judged it."""

    # The prompt's, as `v2-17`.
    id: str
    prompt: str
    # The prompt's type, as `homonyms` or `contrast_homonyms`.
    kind: str
    safe: bool
    # The model that answered, from the file's name.
    model: str
    answer: str
    # Full compliance is Accept, full refusal Refuse, partial refusal Caution.
    label: Label
    annotators: tuple[Label, Label]


def read_xstest(location: Path) -> Iterator[pa.RecordBatch]:
    """The prompts as batches: safe ones level 0, unsafe contrasts `UNSAFE_LEVEL`; `source` is `xstest/TYPE`.

    `location` is the prompt file or its folder. Raises `SalusError` for a missing path and a bad row.
    """
    return prompt_batches(_prompts(location / PROMPTS_FILE if location.is_dir() else location))


def _prompts(file: Path) -> Iterator[Item]:
    for row in rows_of(file, ("prompt", "type", "label")):
        prompt = text(row, "prompt")
        level = 0 if one_of(row, "label", SAFETY) == "safe" else UNSAFE_LEVEL
        yield Item(prompt, level, source=f"xstest/{text(row, 'type')}", base_prompt=prompt)


def read_xstest_answers(location: Path) -> Iterator[LabelledAnswer]:
    """The labelled answers of one completions file, or of all of them in a folder.

    Raises `SalusError` for a missing path, a folder without any, and a bad row.
    """
    for file in completion_files(location):
        yield from _answers(file)


def completion_files(location: Path) -> list[Path]:
    """A completions file, or all of them in a folder, by name; raises `SalusError` for a folder without any."""
    files = sorted(location.glob(f"{COMPLETIONS_PREFIX}*.csv")) if location.is_dir() else [location]
    if not files:
        raise SalusError(f"{location} holds no {COMPLETIONS_PREFIX}*.csv: copy XSTest's completions there.")
    return files


def _answers(file: Path) -> Iterator[LabelledAnswer]:
    model = file.stem.removeprefix(COMPLETIONS_PREFIX)
    labels: tuple[HumanLabel, ...] = tuple(LABEL_OF)
    verdicts = ("annotation_1", "annotation_2", "final_label")
    for row in rows_of(file, ("id", "type", "prompt", "completion", *verdicts)):
        kind = text(row, "type")
        first, second, final = (LABEL_OF[one_of(row, c, labels)] for c in verdicts)
        yield LabelledAnswer(
            id=text(row, "id"),
            prompt=text(row, "prompt"),
            kind=kind,
            safe=not kind.startswith("contrast_"),
            model=model,
            answer=text(row, "completion"),
            label=final,
            annotators=(first, second),
        )
