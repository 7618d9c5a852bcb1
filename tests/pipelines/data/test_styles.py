"""Prompts in styles: what a wrapped row keeps, which styles reach which split, and that shards agree."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actors.contract.records import PROMPT_SCHEMA, SPLITS, Split, prompt_table
from pipelines.data.attacks.registry import STYLES
from pipelines.data.attacks.styles import StyleConfig, chosen_styles, styled, styled_splits
from pipelines.data.split import check_disjoint
from tests.rows import prompt, prompts

CONFIG = StyleConfig(train=("emergency", "base64", "film_script"), held_out=("table", "rot13"), per_prompt=2)
KEPT = ("level", "principle", "base_prompt", "reference", "source")


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.to_pylist()


def test_a_wrapped_row_keeps_what_it_is_and_gets_its_own_id() -> None:
    table = styled(prompts(6), "train", CONFIG, seed=1)
    plain = {row["prompt_id"]: row for row in rows(prompts(6))}
    assert table.schema == PROMPT_SCHEMA
    assert len(set(table["prompt_id"].to_pylist())) == table.num_rows == 6 * 3
    for row in rows(table):
        before = plain[row["prompt_id"].split("~")[0]]
        assert {key: row[key] for key in KEPT} == {key: before[key] for key in KEPT}
        if row["style"] is not None:
            assert row["prompt"] == STYLES[row["style"]].wrap(before["prompt"])
            assert row["method"] == STYLES[row["style"]].method
            assert row["prompt_id"] == f"{before['prompt_id']}~{row['style']}"
        else:
            assert row == before


def test_held_out_styles_reach_the_test_split_alone() -> None:
    splits = styled_splits(dict.fromkeys(SPLITS, prompts(30)), CONFIG, seed=3)
    used = {split: set(splits[split]["style"].to_pylist()) - {None} for split in SPLITS}
    assert used["train"] == used["validation"] == set(CONFIG.train)
    assert used["test"] == set(CONFIG.train) | set(CONFIG.held_out)
    # Both kinds on the same prompts, so that they can be compared in pairs.
    of_first = [row["style"] for row in rows(splits["test"]) if row["prompt_id"].startswith("p0000~")]
    assert sum(name in CONFIG.train for name in of_first) == sum(name in CONFIG.held_out for name in of_first) == 2


def test_plain_prompts_can_be_left_out_but_a_sources_own_style_stays() -> None:
    styled_at_source = prompt(1).model_copy(update={"style": "egida:AIM"})
    config = StyleConfig(train=("emergency",), keep_plain=False)
    table = styled(prompt_table([prompt(0), styled_at_source]), "train", config, seed=1)
    assert table["style"].to_pylist() == ["emergency", "egida:AIM"]
    assert rows(table)[1] == styled_at_source.model_dump()


def test_wrapping_makes_no_leak() -> None:
    table = prompts(40)
    splits: dict[Split, pa.Table] = {"train": table.slice(0, 20), "test": table.slice(20)}
    check_disjoint(styled_splits(splits, CONFIG, seed=5))


@given(st.integers(0, 30), st.integers(0, 2**31), st.integers(0, 30))
def test_a_shard_wrapped_by_itself_gives_the_same_rows(count: int, seed: int, cut: int) -> None:
    table = prompts(count)
    whole = styled(table, "test", CONFIG, seed)
    parts = [styled(part, "test", CONFIG, seed) for part in (table.slice(0, cut), table.slice(cut))]
    assert rows(pa.concat_tables(parts)) == rows(whole)


@given(st.text(max_size=8), st.integers(0, 2**31), st.integers(1, 5))
def test_the_order_of_the_list_does_not_matter(prompt_id: str, seed: int, count: int) -> None:
    names = list(STYLES)
    chosen = chosen_styles(prompt_id, names, count, seed)
    assert chosen == chosen_styles(prompt_id, names[::-1], count, seed)
    assert len(set(chosen)) == count


def test_the_seed_matters_and_every_style_gets_its_share() -> None:
    first = [chosen_styles(f"p{i}", CONFIG.train, 1, 1)[0] for i in range(600)]
    assert first != [chosen_styles(f"p{i}", CONFIG.train, 1, 2)[0] for i in range(600)]
    assert all(first.count(name) == pytest.approx(200, abs=60) for name in CONFIG.train)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train": ["emergancy"]}, "no attack style 'emergancy'; did you mean 'emergency'"),
        ({"train": ["base64"], "held_out": ["tabel"]}, "did you mean 'table'"),
        ({"train": ["base64"], "held_out": ["base64"]}, "style 'base64' is in both train and held_out"),
        ({"train": ["base64", "base64"]}, "train names a style twice"),
        ({"train": ["base64"], "per_prompt": 2}, "per_prompt is 2 but train has 1 styles"),
        ({"train": ["base64", "rot13"], "held_out": ["table"], "per_prompt": 2}, "held_out has 1 styles"),
        ({"train": []}, "at least 1 item"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        StyleConfig.model_validate(settings)
    assert says in str(caught.value)
