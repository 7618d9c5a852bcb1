"""Prompts that only published policies answer: apart from all splits, which stay as they are where that is possible."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import prompt_table
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder, strings
from pipelines.config.load import load_recipe
from pipelines.data.split import check_disjoint, drawn, set_apart
from pipelines.runs.prompts.sets import evaluated_keys, prompt_splits, used_prompts, write_prompts
from tests.rows import prompt

SMALL = ("clinic.train_prompts=96", "clinic.validation_prompts=48", "clinic.test_prompts=48")


def rows(count: int, rewrites: int = 1) -> pa.Table:
    """Base prompts with so many rewrites each, next to each other."""
    texts = [prompt(n, text=f"request {n}") for n in range(count)]
    bases = [each.model_copy(update={"base_prompt": f"base {n // rewrites}"}) for n, each in enumerate(texts)]
    return prompt_table(bases)


def ids(table: pa.Table) -> list[str]:
    return strings(table, "prompt_id")


def test_what_the_limit_leaves_over_is_taken_first_and_the_test_split_stays() -> None:
    test = rows(100)
    used, apart = set_apart(test, 60, 30, seed=1)
    assert ids(used) == ids(test)[:60] and ids(apart) == ids(test)[60:90]


def test_a_base_prompt_of_the_test_split_is_not_taken() -> None:
    test = rows(100, rewrites=4)
    # The limit parts the rewrites of base 15.
    used, apart = set_apart(test, 62, 20, seed=1)
    check_disjoint({"test": used, "published": apart})
    assert used.num_rows == 62 and ids(apart) == ids(test)[64:84]


def test_a_split_without_a_limit_gives_at_most_half_of_its_base_prompts() -> None:
    test = rows(200, rewrites=4)
    used, apart = set_apart(test, None, 20, seed=1)
    check_disjoint({"test": used, "published": apart})
    assert (used.num_rows, apart.num_rows) == (180, 20)
    assert set_apart(test, None, 20, seed=1)[1] == apart and set_apart(test, None, 20, seed=2)[1] != apart
    used, apart = set_apart(test, None, 1000, seed=1)
    assert (used.num_rows, apart.num_rows) == (100, 100)
    used, apart = set_apart(rows(4, rewrites=4), None, 20, seed=1)
    assert (used.num_rows, apart.num_rows) == (4, 0)


def test_none_leaves_everything_as_it_was() -> None:
    used, apart = set_apart(rows(10), 6, 0, seed=1)
    assert (used.num_rows, apart.num_rows) == (6, 0)


@pytest.mark.parametrize("seed", [3, 7])
def test_the_clinics_splits_are_the_same_with_and_without(seed: int) -> None:
    recipe, without = (load_recipe("demo", [f"seed={seed}", *more]) for more in ([], ["data.published=0"]))
    used, plain = (used_prompts(each, prompt_splits(each)) for each in (recipe, without))
    assert "published" not in plain
    assert all(used[name] == table for name, table in plain.items())
    check_disjoint(used)
    levels = used["published"]["level"].to_pylist()
    assert len(levels) == 96 and 40 <= levels.count(0) <= 56 and {1, 2, 3} <= set(levels)


def test_clinic_prompts_in_styles_come_from_the_test_split() -> None:
    styled = "data.styles={train: [prefix_injection], per_prompt: 1}"
    recipe = load_recipe("demo", [*SMALL, styled, "data.published=10"])
    splits = prompt_splits(recipe)
    used = used_prompts(recipe, splits)
    check_disjoint(used)
    assert used["published"].num_rows == 10 and used["test"].num_rows <= splits["test"].num_rows - 10


def test_a_run_writes_them_and_trains_on_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_prompts(load_recipe("demo", [*SMALL, "data.published=20"]), folder)
    apart = read_folder(folder.prompts("published"))
    assert apart.num_rows == 20 and read_folder(folder.prompts("test")).num_rows == 48
    assert {text.casefold() for text in strings(apart, "prompt")} <= evaluated_keys(folder)


def test_a_part_of_the_probe_is_drawn_by_the_seed() -> None:
    table = rows(50)
    some = drawn(table, 10, seed=1)
    assert some.num_rows == 10 and ids(some) == [name for name in ids(table) if name in ids(some)]
    assert drawn(table, 10, seed=1) == some and drawn(table, 10, seed=2) != some
    assert drawn(table, None, seed=1) == table and drawn(table, 50, seed=1) == table
