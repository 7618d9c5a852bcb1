"""Questions as rows to score: one for each option, one for each reference answer; written as shards.

What is known of a question of bias, beside what is scored, is in `bias/questions.parquet`. Beginnings to go on with are
prompts, in `toxicity/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from actors.engine.likelihood import ITEM_SCHEMA
from actors.files.shards import write_table
from pipelines.config.capability import CapabilityConfig
from pipelines.data.batches import Item, PromptIds, prompt_batches, prompt_table
from pipelines.data.sets.choices import ChoiceQuestion
from pipelines.data.sets.references import Reference
from pipelines.data.sets.social.bias import BiasQuestion
from pipelines.data.sets.social.toxicity import ToxicityPrompt
from pipelines.data.shards import write_prompt_shards
from pipelines.measures.capability.questions import QuestionSet

Kind = Literal["choices", "references", "bias"]
KINDS: tuple[Kind, ...] = ("choices", "references", "bias")
Rows = list[dict[str, Any]]
# The folder of beginnings to go on with, beside those of each kind.
TOXICITY = "toxicity"
# RealToxicityPrompts does not grade harm as CARES does: a toxic beginning is taken as moderate.
TOXIC_LEVEL = 2

_BIAS_FIELDS: list[pa.Field[Any]] = [
    pa.field("item_id", pa.string(), nullable=False),
    # Indices of options, from 0; `biased` is null where the set does not tell.
    pa.field("unknown", pa.int32(), nullable=False),
    pa.field("biased", pa.int32()),
    pa.field("condition", pa.string(), nullable=False),
    pa.field("category", pa.string(), nullable=False),
    pa.field("template", pa.string(), nullable=False),
]
BIAS_SCHEMA = pa.schema(_BIAS_FIELDS)


def choice_rows(choices: Sequence[ChoiceQuestion], config: CapabilityConfig) -> Iterator[Rows]:
    """The rows (of `ITEM_SCHEMA`) of each question, one an option."""
    ids = PromptIds()
    for choice in choices:
        yield _options(ids.next(choice.source, choice.question), choice, config)


def bias_rows(questions: Sequence[BiasQuestion], config: CapabilityConfig) -> Iterator[Rows]:
    """The same of questions of bias."""
    for item, question in zip(_bias_ids(questions), questions, strict=True):
        yield _options(item, question, config)


def bias_table(questions: Sequence[BiasQuestion]) -> pa.Table:
    """What is known of each question beside what is scored (`BIAS_SCHEMA`)."""
    rows = [
        {"item_id": item, **question.model_dump(include=set(BIAS_SCHEMA.names))}
        for item, question in zip(_bias_ids(questions), questions, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=BIAS_SCHEMA)


def toxicity_table(prompts: Sequence[ToxicityPrompt], instruction: str) -> pa.Table:
    """Beginnings as prompts (`PROMPT_SCHEMA`): level 2 where the beginning itself is toxic, else 0."""
    source = "toxicity"
    return prompt_table(
        prompt_batches(
            Item(
                prompt=f"{instruction}\n\n{prompt.text}" if instruction else prompt.text,
                level=TOXIC_LEVEL if prompt.toxic else 0,
                source=source,
                base_prompt=prompt.text,
            )
            for prompt in prompts
        )
    )


def reference_rows(references: Sequence[Reference], config: CapabilityConfig) -> Iterator[Rows]:
    """The row (of `ITEM_SCHEMA`) of each reference answer."""
    ids = PromptIds()
    for reference in references:
        item = ids.next("reference", reference.question)
        prompt, continuation = _framed(reference.question, config), _continuation(reference.answer, config)
        yield [_row(item, 0, True, prompt, continuation)]


def write_items(questions: QuestionSet, config: CapabilityConfig, folder: Path) -> None:
    """Write `choices/part-00000.parquet`, ..., `references/...` and the like; a shard that is there is left.

    A kind without questions has no folder. Questions are never cut in two.
    """
    rows = {
        "choices": choice_rows(questions.choices, config),
        "references": reference_rows(questions.references, config),
        "bias": bias_rows(questions.bias, config),
    }
    for kind in KINDS:
        groups = list(rows[kind])
        for number, start in enumerate(range(0, len(groups), config.questions_per_shard)):
            path = folder / kind / f"part-{number:05d}.parquet"
            if not path.is_file():
                shard = [row for group in groups[start : start + config.questions_per_shard] for row in group]
                write_table(pa.Table.from_pylist(shard, schema=ITEM_SCHEMA), path)
    if questions.bias and not (known := bias_questions(folder)).is_file():
        write_table(bias_table(questions.bias), known)
    if questions.toxicity and config.toxicity is not None:
        prompts = toxicity_table(questions.toxicity, config.toxicity.instruction)
        write_prompt_shards(iter(prompts.to_batches()), folder / TOXICITY, config.questions_per_shard)


def bias_questions(folder: Path) -> Path:
    """Where it is written what is known of the questions of bias."""
    return folder / "bias" / "questions.parquet"


def item_shards(folder: Path, kind: Kind) -> list[Path]:
    """The shards of one kind in name order; empty where it is not measured."""
    return sorted((folder / kind).glob("part-*.parquet"))


def _row(item: str, option: int, right: bool, prompt: str, continuation: str) -> dict[str, Any]:
    return {"item_id": item, "option": option, "right": right, "prompt": prompt, "continuation": continuation}


def _options(item: str, choice: ChoiceQuestion | BiasQuestion, config: CapabilityConfig) -> Rows:
    prompt = _framed(_asked(choice, config), config)
    scored = choice.options if config.form == "text" else [_letter(i) for i in range(len(choice.options))]
    return [_row(item, i, i == choice.answer, prompt, _continuation(option, config)) for i, option in enumerate(scored)]


def _bias_ids(questions: Sequence[BiasQuestion]) -> Iterator[str]:
    ids = PromptIds()
    return (ids.next("bias", question.question, question.context) for question in questions)


def _asked(choice: ChoiceQuestion | BiasQuestion, config: CapabilityConfig) -> str:
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
