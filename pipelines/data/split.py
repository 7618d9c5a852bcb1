"""Splits by base prompt: rewrites of one base prompt (or questions on one topic) never cross splits.

Which split a row goes to depends on the seed and its base prompt alone. So any shard of the data can be split by
itself, on any machine, and rows added later move no other row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.contract.records import SPLITS, Split
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import strings

_POINTS = 2**64


class SplitFractions(BaseModel):
    """What share of the base prompts each split gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float = Field(default=0.8, ge=0, le=1, description="share that policies are trained on")
    validation: float = Field(default=0.1, ge=0, le=1, description="share that a cycle's winner is chosen by")
    test: float = Field(default=0.1, ge=0, le=1, description="share that is reported alone, never chosen by")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must sum to 1, not {total:g}")
        return self


def group_key(base_prompt: str) -> str:
    """What makes two base prompts the same: their words, whatever the case and the white space."""
    return " ".join(base_prompt.casefold().split())


def split_of(base_prompt: str, fractions: SplitFractions, seed: int) -> Split:
    """The split of every row with this base prompt: where sha256(seed, base prompt) falls in [0, 1)."""
    digest = hashlib.sha256(f"{seed}\x00{group_key(base_prompt)}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / _POINTS
    if point < fractions.train:
        return "train"
    # A share of 0 stays empty even where train + validation falls short of 1 by rounding.
    if fractions.test == 0 or point < fractions.train + fractions.validation:
        return "validation" if fractions.validation > 0 else "train"
    return "test"


def split_by_base_prompt(table: pa.Table, fractions: SplitFractions, seed: int) -> dict[Split, pa.Table]:
    """Every row of a `PROMPT_SCHEMA` table in exactly one split, in the table's order."""
    encoded = table.column("base_prompt").combine_chunks().dictionary_encode()
    names = [split_of(str(base), fractions, seed) for base in encoded.dictionary.to_pylist()]
    of_row = pc.take(pa.array(names, pa.string()), encoded.indices)
    return {split: table.filter(pc.equal(of_row, pa.scalar(split))) for split in SPLITS}


def split_beside_test(rest: pa.Table, test: pa.Table, fractions: SplitFractions, seed: int) -> dict[Split, pa.Table]:
    """The splits where the test split is given: train and validation are of the rest, which may overlap with it.

    Rows of `rest` whose base prompt is in the test split are left out. The others go to train and validation by base
    prompt, in the proportion of those two shares.

    Args:
        rest: rows of `PROMPT_SCHEMA` beside the test split.
        test: the test split.
        fractions: the shares; that of the test split counts for nothing.
        seed: of the draw.

    Raises:
        SalusError: neither train nor validation has a share.
    """
    both = fractions.train + fractions.validation
    if both <= 0:
        raise SalusError("data.split leaves nothing to train and validation, and the test split is given; raise both.")
    own = rest.filter(pc.invert(_in(rest, {*_keys(test)})))
    shares = SplitFractions(train=fractions.train / both, validation=1 - fractions.train / both, test=0.0)
    return split_by_base_prompt(own, shares, seed) | {"test": test}


def drawn(table: pa.Table, most: int | None, seed: int, name: str = "drawn") -> pa.Table:
    """At most so many rows of a `PROMPT_SCHEMA` table, in the table's order; None: all.

    A row's draw follows from the seed, its prompt id, and the name of what is drawn.
    """
    if most is None or table.num_rows <= most:
        return table
    places = np.array([derive_seed(seed, name, prompt) for prompt in strings(table, "prompt_id")])
    return table.take(np.sort(np.argsort(places, kind="stable")[:most]))


def set_apart(test: pa.Table, most_test: int | None, count: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """The test split that a run uses, and `count` prompts that share no base prompt with it.

    Rows after the first `most_test` are taken before any of those. Where they are too few, base prompts leave the test
    split, drawn by the seed: at most half of its base prompts.

    Args:
        test: all prompts of the test split, in the run's order.
        most_test: how many of them the run uses; None: all.
        count: how many are set apart; fewer where there are no more.
        seed: of the draw.
    """
    kept = test.slice(0, most_test)
    left = test.slice(kept.num_rows)
    apart = left.filter(pc.invert(_in(left, {*_keys(kept)}))).slice(0, count)
    if (missing := count - apart.num_rows) > 0:
        counts = Counter(_keys(kept))
        drawn_keys: set[str] = set()
        for key in sorted(counts, key=lambda each: (derive_seed(seed, "published", each), each))[: len(counts) // 2]:
            if sum(counts[each] for each in drawn_keys) >= missing:
                break
            drawn_keys.add(key)
        leaves = _in(kept, drawn_keys)
        apart = pa.concat_tables([apart, kept.filter(leaves).slice(0, missing)])
        kept = kept.filter(pc.invert(leaves))
    return kept, apart


def _keys(table: pa.Table) -> list[str]:
    return [group_key(base) for base in strings(table, "base_prompt")]


def _in(table: pa.Table, keys: set[str]) -> pa.Array[Any]:
    return pa.array([key in keys for key in _keys(table)], pa.bool_())


def check_disjoint(splits: Mapping[Any, pa.Table]) -> None:
    """Raise `SalusError` where two sets of prompts share a base prompt, naming the first."""
    owner: dict[str, str] = {}
    for split, table in splits.items():
        for value in pc.unique(table.column("base_prompt")).to_pylist():
            base = str(value)
            first = owner.setdefault(group_key(base), split)
            if first != split:
                raise SalusError(
                    f"The base prompt '{base[:80]}' is in both {first} and {split}: "
                    "split the pooled rows by base prompt, or drop it from one of them."
                )
