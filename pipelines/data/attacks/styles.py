"""Prompts in attack styles: train and validation in some, test also in styles never trained on.

Which styles a prompt gets depends on the seed and its id alone, so any shard can be wrapped by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.contract.records import PROMPT_SCHEMA, Split
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.data.attacks.registry import style_named


class StyleConfig(BaseModel):
    """Which attack styles the prompts of a run are wrapped in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...] = Field(min_length=1, description="styles of the train and validation prompts")
    held_out: tuple[str, ...] = Field((), description="styles that only test prompts get, beside those of train")
    per_prompt: int = Field(1, ge=1, description="styles a prompt is wrapped in; on test, of each of the two lists")
    keep_plain: bool = Field(True, description="keep the prompts as they are, too")

    @model_validator(mode="after")
    def _known_and_apart(self) -> Self:
        for name in (*self.train, *self.held_out):
            try:
                style_named(name)
            except SalusError as error:
                raise ValueError(error.sentence.rstrip(".")) from error
        both = [name for name in self.held_out if name in self.train]
        if both:
            raise ValueError(f"style '{both[0]}' is in both train and held_out; take it out of one")
        for key, names in (("train", self.train), ("held_out", self.held_out)):
            if len(set(names)) < len(names):
                raise ValueError(f"{key} names a style twice; name each once")
            if names and len(names) < self.per_prompt:
                raise ValueError(f"per_prompt is {self.per_prompt} but {key} has {len(names)} styles; lower it")
        return self

    def lists_of(self, split: Split) -> tuple[tuple[str, ...], ...]:
        """The lists a split's prompts each get `per_prompt` styles of."""
        return (self.train, self.held_out) if split == "test" and self.held_out else (self.train,)


def styled_splits(splits: Mapping[Split, pa.Table], config: StyleConfig, seed: int) -> dict[Split, pa.Table]:
    """Every split (tables of `PROMPT_SCHEMA`) with its prompts in their styles."""
    return {split: styled(table, split, config, seed) for split, table in splits.items()}


def styled(table: pa.Table, split: Split, config: StyleConfig, seed: int) -> pa.Table:
    """A split's prompts, each followed by itself in its styles (rows of `PROMPT_SCHEMA`).

    A wrapped row keeps level, principle, base prompt, reference and source, takes the style's method, and is
    called after prompt and style. A prompt whose source already put a style around it stays as it is.
    """
    batches = [
        pa.RecordBatch.from_pylist(_rows(batch.to_pylist(), config.lists_of(split), config, seed), PROMPT_SCHEMA)
        for batch in table.to_batches()
    ]
    return pa.Table.from_batches(batches, PROMPT_SCHEMA)


def chosen_styles(prompt_id: str, names: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the styles for one prompt: those whose draws are lowest, in the order of the draws."""
    return sorted(names, key=lambda name: (derive_seed(seed, "style", prompt_id, name), name))[:count]


def _rows(
    prompts: list[dict[str, Any]], lists: tuple[tuple[str, ...], ...], config: StyleConfig, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for prompt in prompts:
        if config.keep_plain or prompt["style"] is not None:
            rows.append(prompt)
        if prompt["style"] is None:
            for names in lists:
                chosen = chosen_styles(prompt["prompt_id"], names, config.per_prompt, seed)
                rows += [_wrapped(prompt, name) for name in chosen]
    return rows


def _wrapped(prompt: dict[str, Any], name: str) -> dict[str, Any]:
    style = style_named(name)
    return prompt | {
        "prompt_id": f"{prompt['prompt_id']}~{name}",
        "prompt": style.wrap(prompt["prompt"]),
        "method": style.method,
        "style": name,
    }
