"""Given texts to score: how likely a policy finds each after its prompt. Items in, log-likelihoods out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_text
from actors.engine.port import Engine
from actors.errors import SalusError
from actors.files.shards import read_shard, strings, with_columns

_ITEM_FIELDS: list[pa.Field[Any]] = [
    # A question; its options share it.
    pa.field("item_id", pa.string(), nullable=False),
    # The option's index, from 0; 0 for a reference answer.
    pa.field("option", pa.int32(), nullable=False),
    # Whether it is the right one; a reference answer is.
    pa.field("right", pa.bool_(), nullable=False),
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("continuation", pa.string(), nullable=False),
]
ITEM_SCHEMA = pa.schema(_ITEM_FIELDS)

_SCORE_FIELDS: list[pa.Field[Any]] = [
    *_ITEM_FIELDS,
    pa.field("policy", pa.string(), nullable=False),
    # Nats, summed over the continuation's tokens.
    pa.field("log_likelihood", pa.float64(), nullable=False),
    pa.field("tokens", pa.int32(), nullable=False),
    pa.field("greedy", pa.bool_(), nullable=False),
]
SCORE_SCHEMA = pa.schema(_SCORE_FIELDS)


class LikelihoodTask(BaseModel):
    """One shard of items to score: with which policy, where the items are, where the scores go.

    Each task names its policy, so that a restarted actor can never score with an old one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PolicyRef
    # The champion that a challenger was trained on; None for a policy that has whole weights.
    base: PolicyRef | None = None
    items: str
    output: str
    # Whether the prompt is a user's message under the model's chat template, or plain text.
    chat: bool


class ItemTokens(NamedTuple):
    """An item as the engine takes it."""

    prompt: list[int]
    continuation: list[int]


def cut_tokens(before: list[int], whole: list[int]) -> ItemTokens:
    """A text's tokens, cut where they cease to be those of its beginning `before`; the rest has at least one.

    Tokenised as one text, as the model would meet it: a token that spans the border belongs to the continuation.
    """
    pairs = zip(before, whole, strict=False)
    shared = next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(before), len(whole)))
    cut = min(shared, len(whole) - 1)
    return ItemTokens(whole[:cut], whole[cut:])


def item_tokens(tokenizer: Any, prompt: str, continuation: str, chat: bool) -> ItemTokens:
    """Tokens of a prompt and of what follows it; a plain prompt begins with what the tokenizer begins texts with."""
    # A chat template writes the special tokens itself.
    text = chat_text(tokenizer, prompt) if chat else prompt
    before, whole = (list(tokenizer.encode(t, add_special_tokens=not chat)) for t in (text, text + continuation))
    return cut_tokens(before, whole)


def read_items(path: Path, tokenizer: Any, chat: bool, max_model_len: int) -> tuple[pa.Table, list[ItemTokens]]:
    """A shard of `ITEM_SCHEMA` and its tokens.

    Raises:
        SalusError: no such shard, or an item that does not fit the engine.
    """
    items = read_shard(path, ITEM_SCHEMA)
    texts = zip(strings(items, "prompt"), strings(items, "continuation"), strict=True)
    tokens = [item_tokens(tokenizer, prompt, continuation, chat) for prompt, continuation in texts]
    for row, item in enumerate(tokens):
        length = len(item.prompt) + len(item.continuation)
        if length >= max_model_len:
            raise SalusError(
                f"Question {items['item_id'][row].as_py()} of {path} has {length} tokens with its option"
                f" {items['option'][row].as_py()}, but only {max_model_len - 1} fit; raise"
                " generate.engine.max_model_len or leave the question out."
            )
    return items, tokens


def score_items(engine: Engine, items: pa.Table, tokens: list[ItemTokens], version: str) -> pa.Table:
    """The items with their log-likelihoods under the policy the engine holds (`SCORE_SCHEMA`), in their order."""
    scored = engine.log_likelihoods([t.prompt for t in tokens], [t.continuation for t in tokens])
    columns: dict[str, list[Any]] = {
        "policy": [version] * len(scored),
        "log_likelihood": [s.log_likelihood for s in scored],
        "tokens": [s.tokens for s in scored],
        "greedy": [s.greedy for s in scored],
    }
    return with_columns(items, columns, SCORE_SCHEMA)
