"""The sets of prompts of a run: splits, probe, and those for published policies; and its reference labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import PROMPT_SCHEMA, SPLITS, Label, PromptSet, Split, prompt_table
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import read_folder, strings
from actors.judges.rules import refusal_label
from pipelines.config.recipe import Recipe
from pipelines.data.attacks.styles import styled_splits
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.clinic.prompts import clinic_prompts
from pipelines.data.clinic.truth import truth_label
from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.medsafety.prompts import medsafety_prompts
from pipelines.data.sets.held_out import hold_out
from pipelines.data.sets.or_bench import OR_BENCH_REPOSITORY, OrBenchConfig, OrBenchSubset, read_or_bench
from pipelines.data.sets.table import DATA_SETS
from pipelines.data.sets.xstest import read_xstest
from pipelines.data.shards import write_prompt_shards
from pipelines.data.split import check_disjoint, drawn, group_key, set_apart, split_beside_test, split_by_base_prompt

# All harmless; the 80k they are taken from would be far more than a probe needs.
OR_BENCH_PROBE: OrBenchSubset = "or-bench-hard-1k"
# What a policy is measured on must not be trained on.
EVALUATED: tuple[PromptSet, ...] = ("validation", "test", "probe", "published")


def write_prompts(recipe: Recipe, folder: RunFolder) -> None:
    """The prompt shards of all splits, of the probe and for published policies; what is already written is left.

    Raises:
        SalusError: a bad row, splits that share a base prompt, a split that is empty, or a probe that is not there.
    """
    if not all(folder.prompts(split).is_dir() for split in SPLITS):
        _write_splits(recipe, folder)
    if recipe.data.probe is not None and not folder.prompts("probe").is_dir():
        write_prompt_shards(probe_prompts(recipe).to_batches(), folder.prompts("probe"), recipe.data.prompts_per_shard)


def evaluated_keys(folder: RunFolder) -> set[str]:
    """The prompts and base prompts the run is measured on, as `group_key` tells texts apart."""
    keys: set[str] = set()
    for split in EVALUATED:
        if folder.prompts(split).is_dir():
            table = read_folder(folder.prompts(split), ("prompt", "base_prompt"))
            keys.update(group_key(text) for column in table.column_names for text in strings(table, column))
    return keys


def _write_splits(recipe: Recipe, folder: RunFolder) -> None:
    splits = prompt_splits(recipe)
    check_splits(splits, recipe.data.source)
    used = used_prompts(recipe, splits)
    check_disjoint(used)
    # The test split last: a folder that has all splits is whole.
    for name in sorted(used, key=lambda each: each == "test"):
        write_prompt_shards(iter(used[name].to_batches()), folder.prompts(name), recipe.data.prompts_per_shard)


def used_prompts(recipe: Recipe, splits: Mapping[Split, pa.Table]) -> dict[PromptSet, pa.Table]:
    """The prompts that a run writes down of these splits, and those that are set apart for published policies."""
    data, test = recipe.data, splits["test"]
    most = min(test.num_rows, data.test if data.test is not None else test.num_rows)
    if data.source == "clinic" and data.styles is None and data.published:
        test = pa.concat_tables([test, _more_of_the_clinic(recipe, splits)])
    used, apart = set_apart(test, most, data.published, recipe.seed)
    found: dict[PromptSet, pa.Table] = {"train": splits["train"], "test": used}
    found["validation"] = splits["validation"].slice(0, data.validation)
    return found | ({"published": apart} if apart.num_rows else {})


def _more_of_the_clinic(recipe: Recipe, splits: Mapping[Split, pa.Table]) -> pa.Table:
    """Prompts beyond those of the clinic's test split, which stays as it is: the clinic makes as many as are asked."""
    clinic = clinic_config(recipe)
    # Twice as many: a few have a base prompt of the test split's.
    more = clinic.model_copy(update={"test_prompts": clinic.test_prompts + 2 * recipe.data.published})
    known = pa.array(strings(splits["test"], "prompt_id"))
    table = prompt_table(clinic_prompts(more)["test"])
    return table.filter(pc.invert(pc.is_in(table["prompt_id"], value_set=known)))


def check_splits(splits: Mapping[Split, pa.Table], source: str) -> None:
    """Raise `SalusError` where a run cannot begin with these splits: two share a base prompt, or one is empty."""
    check_disjoint(splits)
    for split, table in splits.items():
        if table.num_rows == 0:
            raise SalusError(
                f"The {split} split of data source {source!r} is empty; give more rows or change data.split."
            )


def probe_prompts(recipe: Recipe) -> pa.Table:
    """The harmless prompts of the recipe's probe (rows of `PROMPT_SCHEMA`).

    Raises:
        SalusError: they are neither on disk nor can be fetched, or hold a bad row.
    """
    if recipe.data.probe == "xstest":
        batches = read_xstest(probe_folder(recipe, "xstest"))
    else:
        batches = read_or_bench(_or_bench_location(recipe), OrBenchConfig(subsets=(OR_BENCH_PROBE,)))
    table = pa.Table.from_batches(batches, PROMPT_SCHEMA)
    return drawn(table.filter(pc.equal(table["level"], pa.scalar(0, pa.int8()))), recipe.data.probe_n, recipe.seed)


def probe_on_disk(recipe: Recipe) -> bool:
    """Whether the recipe has a probe whose prompts are read from files; those of OR-Bench may be on the hub."""
    if recipe.data.probe != "or-bench":
        return recipe.data.probe is not None
    return recipe.data.probe_path is not None or probe_folder(recipe, "or-bench").is_dir()


def probe_folder(recipe: Recipe, probe: Literal["xstest", "or-bench"]) -> Path:
    """Where a probe's files are looked for: as told, or below the data's folder."""
    told = recipe.data.probe_path
    if told is not None and recipe.data.probe == probe:
        return Path(told).expanduser()
    return medsafety_config(recipe).data_dir / probe


def _or_bench_location(recipe: Recipe) -> Path | str:
    folder = probe_folder(recipe, "or-bench")
    if folder.is_dir():
        return folder
    if recipe.data.probe_path is not None:
        raise SalusError(f"data.probe_path {folder} is not a folder; name the one that holds {OR_BENCH_PROBE}.csv.")
    return OR_BENCH_REPOSITORY


def prompt_splits(recipe: Recipe) -> dict[Split, pa.Table]:
    """The prompts of every split (tables of `PROMPT_SCHEMA`) in the run's order, in attack styles where it names some.

    Raises:
        SalusError: the data is missing, cannot be fetched, or holds a bad row.
    """
    data = recipe.data
    splits = hold_out(_source_splits(recipe), data.held_out)
    if data.styles is not None:
        splits = styled_splits(splits, data.styles, recipe.seed)
    elif data.source == "clinic":
        # Already stratified: any few neighbours hold every level and method.
        return splits
    return {split: _shuffled(table, recipe.seed) for split, table in splits.items()}


def truth_rule(recipe: Recipe) -> Callable[[str], Label] | None:
    """The rule of the reference labels that a run reports beside its judge's; None: no rule gives them."""
    return {"clinic": truth_label, "refusal_rules": refusal_label}.get(recipe.judge.truth or "")


def clinic_config(recipe: Recipe) -> ClinicConfig:
    """The clinic as this run's seed makes it."""
    return recipe.clinic.model_copy(update={"seed": recipe.seed})


def medsafety_config(recipe: Recipe) -> MedsafetyConfig:
    """The real-text data as this run's seed splits it."""
    update: dict[str, object] = {"seed": recipe.seed}
    if recipe.data.path is not None:
        update["data_dir"] = Path(recipe.data.path)
    return recipe.medsafety.model_copy(update=update)


def _source_splits(recipe: Recipe) -> dict[Split, pa.Table]:
    source = recipe.data.source
    if source == "clinic":
        return {split: prompt_table(rows) for split, rows in clinic_prompts(clinic_config(recipe)).items()}
    if source == "medsafety":
        return medsafety_prompts(medsafety_config(recipe))
    row, path = DATA_SETS[source], _data_path(recipe)
    settings = getattr(recipe.data, row.section) if row.section is not None else None
    if (sides := row.given_splits(path, settings)) is not None:
        train, test = (pa.Table.from_batches(side, PROMPT_SCHEMA) for side in sides)
        return split_beside_test(train, test, recipe.data.split, recipe.seed)
    rows = pa.Table.from_batches(row.batches(path, settings), PROMPT_SCHEMA)
    return split_by_base_prompt(rows, recipe.data.split, recipe.seed)


def _data_path(recipe: Recipe) -> Path | None:
    return None if recipe.data.path is None else Path(recipe.data.path).expanduser()


def _shuffled(table: pa.Table, seed: int) -> pa.Table:
    """Rows in an order that depends on the seed and their ids alone."""
    places = [derive_seed(seed, "order", i) for i in strings(table, "prompt_id")]
    return table.take(pc.sort_indices(pa.array(places)))
