"""Whether the models of a run hold as many tokens as its settings and its prompts ask of their engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import TemplateError

from actors.contract.conversation import whole_conversation
from actors.contract.records import PolicyRef, PromptSet
from actors.engine.chat import chat_tokens, conversation_tokens
from actors.engine.tokenizer import load_tokenizer
from actors.errors import SalusError, cause_in
from actors.files.shards import strings
from actors.serve.config import check_lengths
from pipelines.config.recipe import Recipe

# Prompts of one set whose tokens are all counted: some seconds of work.
COUNTED = 10_000


def check_run_lengths(recipe: Recipe, policy: PolicyRef, judge: PolicyRef | None) -> None:
    """Refuse settings that the deployed policy, the judge or the guard cannot hold.

    Args:
        judge: the judge's own weights; None where the policy, a rule or a server judges.

    Raises:
        SalusError: names the setting, the model's folder and both numbers.
    """
    generate, folder = recipe.generate, Path(policy.path)
    length = generate.engine.length(folder, "generate.engine")
    if generate.longest_answer >= length:
        raise SalusError(
            f"generate.sampling.max_tokens leaves no room for a prompt: an answer has up to {generate.longest_answer}"
            f" tokens, and an engine of {folder} has {length} for both; lower it."
        )
    if recipe.judge.row.weights is not None:
        judge_length(recipe, judge or policy)
    if recipe.publish.enabled:
        check_lengths(recipe.publish, folder)


def judge_length(recipe: Recipe, judge: PolicyRef) -> int:
    """Tokens of prompt and label together in the judge's engine.

    Raises:
        SalusError: more are set than the judge holds.
    """
    return recipe.judge.engine.length(Path(judge.path), "judge.engine")


def asked_lengths(prompts: pa.Table, policy: PolicyRef) -> list[int]:
    """Tokens of each prompt (columns prompt and context), as this policy is asked it."""
    tokenizer = load_tokenizer(Path(policy.path))
    asked = zip(strings(prompts, "context"), strings(prompts, "prompt"), strict=True)
    return [len(conversation_tokens(tokenizer, whole_conversation(*each))) for each in asked]


@dataclass(frozen=True)
class PromptLengths:
    """Tokens of prompts in a model's chat template; of a large set, only of those that could be too long."""

    # By row.
    tokens: Mapping[int, int]
    # Of all rows, estimated from a part of a large set.
    mean: float

    def over(self, most: int) -> int:
        """How many prompts have more tokens than that."""
        return sum(tokens > most for tokens in self.tokens.values())

    @property
    def longest(self) -> tuple[int, int]:
        """The row of the longest prompt, and its tokens."""
        row = max(self.tokens, key=lambda each: self.tokens[each])
        return row, self.tokens[row]


def token_counts(folder: Path, sets: Mapping[PromptSet, pa.Table], room: int) -> dict[PromptSet, PromptLengths]:
    """Tokens of prompts as the model in `folder` reads them, by its own tokenizer and chat template.

    Args:
        folder: the model's.
        sets: the prompts (rows of `PROMPT_SCHEMA`).
        room: what a prompt may have. Of a set of more than `COUNTED` prompts only those are counted that could have
            more. A token is at least one byte.

    Raises:
        SalusError: the tokenizer cannot be loaded, or its template cannot hold a prompt.
    """
    try:
        tokenizer = load_tokenizer(folder)
        beside = len(chat_tokens(tokenizer, ""))
        return {name: _counts(tokenizer, table, room - beside) for name, table in sets.items() if table.num_rows}
    except (OSError, ValueError, KeyError, TemplateError) as error:
        raise SalusError(
            f"The tokenizer in {folder} cannot read the prompts ({cause_in(str(error)) or type(error).__name__}); save"
            " it again with its chat template."
        ) from error


def _counts(tokenizer: Any, table: pa.Table, most_bytes: int) -> PromptLengths:
    prompts = list(zip(strings(table, "context"), strings(table, "prompt"), strict=True))
    # Evenly spread over a large set.
    some = range(0, len(prompts), -(-len(prompts) // COUNTED))
    # What JSON writes around a turn is more than a template's marks.
    rows = {row for row, texts in enumerate(prompts) if sum(len(text.encode()) for text in texts) > most_bytes}
    turns = {row: whole_conversation(*prompts[row]) for row in sorted(rows.union(some))}
    tokens = {row: len(conversation_tokens(tokenizer, each)) for row, each in turns.items()}
    return PromptLengths(tokens, sum(tokens[row] for row in some) / len(some))
