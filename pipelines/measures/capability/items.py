"""Questions as rows to score: one for each option, one for each reference answer; written as shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from actors.engine.likelihood import ITEM_SCHEMA
from actors.files.shards import write_table
from pipelines.config.capability import CapabilityConfig
from pipelines.data.batches import PromptIds
from pipelines.data.sets.choices import ChoiceQuestion
from pipelines.data.sets.references import Reference
from pipelines.measures.capability.questions import QuestionSet

Kind = Literal["choices", "references"]
KINDS: tuple[Kind, ...] = ("choices", "references")
Rows = list[dict[str, Any]]


def choice_rows(choices: Sequence[ChoiceQuestion], config: CapabilityConfig) -> Iterator[Rows]:
    """The rows (of `ITEM_SCHEMA`) of each question, one an option."""
    ids = PromptIds()
    for choice in choices:
        item, prompt = ids.next(choice.source, choice.question), _framed(_asked(choice, config), config)
        scored = choice.options if config.form == "text" else [_letter(i) for i in range(len(choice.options))]
        yield [
            _row(item, i, i == choice.answer, prompt, _continuation(option, config)) for i, option in enumerate(scored)
        ]


def reference_rows(references: Sequence[Reference], config: CapabilityConfig) -> Iterator[Rows]:
    """The row (of `ITEM_SCHEMA`) of each reference answer."""
    ids = PromptIds()
    for reference in references:
        item = ids.next("reference", reference.question)
        prompt, continuation = _framed(reference.question, config), _continuation(reference.answer, config)
        yield [_row(item, 0, True, prompt, continuation)]


def write_items(questions: QuestionSet, config: CapabilityConfig, folder: Path) -> None:
    """Write `choices/part-00000.parquet`, ... and `references/...`; a shard that is there is left.

    A kind without questions has no folder. Questions are never cut in two.
    """
    rows = {
        "choices": choice_rows(questions.choices, config),
        "references": reference_rows(questions.references, config),
    }
    for kind in KINDS:
        groups = list(rows[kind])
        for number, start in enumerate(range(0, len(groups), config.questions_per_shard)):
            path = folder / kind / f"part-{number:05d}.parquet"
            if not path.is_file():
                shard = [row for group in groups[start : start + config.questions_per_shard] for row in group]
                write_table(pa.Table.from_pylist(shard, schema=ITEM_SCHEMA), path)


def item_shards(folder: Path, kind: Kind) -> list[Path]:
    """The shards of one kind in name order; empty where it is not measured."""
    return sorted((folder / kind).glob("part-*.parquet"))


def _row(item: str, option: int, right: bool, prompt: str, continuation: str) -> dict[str, Any]:
    return {"item_id": item, "option": option, "right": right, "prompt": prompt, "continuation": continuation}


def _asked(choice: ChoiceQuestion, config: CapabilityConfig) -> str:
    """Context and question; with form `letter` the options under their letters too."""
    lines = [choice.context] if choice.context else []
    lines.append(choice.question)
    if config.form == "letter":
        lines += [f"{_letter(i)}. {option}" for i, option in enumerate(choice.options)]
    return "\n".join(lines)


def _framed(prompt: str, config: CapabilityConfig) -> str:
    """A chat template frames a question by itself; plain text needs a sign that the answer follows."""
    return prompt if config.chat and config.form == "text" else f"{prompt}\nAnswer:"


def _continuation(answer: str, config: CapabilityConfig) -> str:
    # In plain text the space before a word belongs to its token.
    return answer if config.chat else f" {answer}"


def _letter(index: int) -> str:
    return chr(ord("A") + index)
