"""Splits as properties: disjoint, complete, the same every time, and the same shard by shard."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.contract.records import SPLITS
from actors.errors import SalusError
from pipelines.data.batches import Item, prompt_batches, prompt_table
from pipelines.data.split import SplitFractions, check_disjoint, group_key, split_by_base_prompt, split_of

bases = st.lists(st.text(max_size=8), max_size=40)
seeds = st.integers(min_value=0, max_value=2**31)
fractions = st.sampled_from(
    [
        SplitFractions(),
        SplitFractions(train=0.5, validation=0.25, test=0.25),
        SplitFractions(train=0.7, validation=0.3, test=0),
        SplitFractions(train=0.0, validation=0.0, test=1.0),
    ]
)


def _table(base_prompts: list[str]) -> pa.Table:
    items = (Item(f"{i} {base}", 0, "s", base_prompt=base) for i, base in enumerate(base_prompts))
    return prompt_table(prompt_batches(items))


@given(bases, fractions, seeds)
def test_every_row_is_in_exactly_one_split_with_its_group(
    base_prompts: list[str], shares: SplitFractions, seed: int
) -> None:
    table = _table(base_prompts)
    splits = split_by_base_prompt(table, shares, seed)
    check_disjoint(splits)
    found = Counter(row for split in SPLITS for row in splits[split].column("prompt_id").to_pylist())
    assert found == Counter(table.column("prompt_id").to_pylist())
    for split in SPLITS:
        assert getattr(shares, split) > 0 or splits[split].num_rows == 0
        assert splits[split].schema == table.schema


@given(bases, fractions, seeds, st.integers(min_value=0, max_value=40))
def test_a_shard_split_by_itself_gives_the_same_rows(
    base_prompts: list[str], shares: SplitFractions, seed: int, cut: int
) -> None:
    table = _table(base_prompts)
    whole = split_by_base_prompt(table, shares, seed)
    parts = [split_by_base_prompt(part, shares, seed) for part in (table.slice(0, cut), table.slice(cut))]
    for split in SPLITS:
        assert pa.concat_tables([part[split] for part in parts]).to_pylist() == whole[split].to_pylist()


def test_shares_come_out_and_the_seed_matters() -> None:
    names = [f"base {i}" for i in range(4000)]
    first = [split_of(name, SplitFractions(), 1) for name in names]
    assert first.count("train") == pytest.approx(3200, abs=120)
    assert first.count("validation") == pytest.approx(400, abs=80)
    assert first != [split_of(name, SplitFractions(), 2) for name in names]


def test_case_and_white_space_do_not_make_another_group() -> None:
    assert group_key(" How  do I\nforge? ") == group_key("how do i forge?")


def test_a_leak_is_named() -> None:
    with pytest.raises(SalusError, match="'forge A note' is in both train and test"):
        check_disjoint({"train": _table(["Forge a note"]), "test": _table(["x", "forge A note"])})


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ValidationError, match="must sum to 1"):
        SplitFractions(train=0.8, validation=0.3, test=0.1)
