"""A decision on any judged answers: outside a run, so that others can check the rule on what they have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from actors.contract.records import CHALLENGER_PATTERN, JUDGMENT_SCHEMA, LONGEST_CHALLENGER, ChallengerName
from actors.contract.run_folder import RESERVED
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import read_shard, shard_files
from pipelines.config.recipe import Recipe
from pipelines.decision.control import read_control
from pipelines.decision.decide import decide
from pipelines.decision.record import Contender
from pipelines.report.decision_page.build import decision_page
from pipelines.report.decision_page.content import DecisionPage

_APPROVAL = "Nothing is published by this: the decision was made on given answers, outside a run."


def named_folders(given: Sequence[str]) -> dict[ChallengerName, Path]:
    """Challengers and their folders of judged answers.

    Args:
        given: each as NAME=DIR.

    Raises:
        SalusError: one is not of that form, has no challenger's name, or is named twice.
    """
    found: dict[ChallengerName, Path] = {}
    for each in given:
        name, equals, folder = each.partition("=")
        if not equals or not folder:
            raise SalusError(f"--challenger {each!r} is not of the form NAME=DIR, as kto=judged/kto.")
        if len(name) > LONGEST_CHALLENGER or re.fullmatch(CHALLENGER_PATTERN, name) is None or name in RESERVED:
            raise SalusError(f"{name!r} cannot name a challenger: use small letters, digits and hyphens, as kto-2.")
        if name in found:
            raise SalusError(f"--challenger names {name} twice; give each challenger a name of its own.")
        found[name] = Path(folder)
    if not found:
        raise SalusError("There is no challenger to compare with the champion; name one with --challenger NAME=DIR.")
    return found


def page_on_answers(
    recipe: Recipe,
    champion: Path,
    challengers: Mapping[ChallengerName, Path],
    control: Path | None = None,
    cycle: int = 1,
) -> DecisionPage:
    """Decide on folders of judged answers by a recipe's rule, as if it were a run's only decision.

    Args:
        recipe: whose rule, marks and seed count.
        champion: a folder of shards of `JUDGMENT_SCHEMA`, one answer a prompt.
        challengers: the same of each challenger, on the same prompts.
        control: trusted labels of these answers (`CONTROL_SCHEMA`), where there are some.
        cycle: whose limits of the gate count.

    Raises:
        SalusError: a folder holds no such shards, or they cannot be compared.
    """
    judged: dict[Contender, pa.Table] = {"champion": _read(champion)}
    judged |= {name: _read(folder) for name, folder in challengers.items()}
    others = {name: table for name, table in judged.items() if name != "champion"}
    if control is not None and not control.is_file():
        raise SalusError(f"There are no control labels {control}; name a Parquet file of them, or leave --control out.")
    labels = read_control(control) if control is not None else None
    seed = derive_seed(recipe.seed, "decide")
    made = decide(cycle, judged["champion"], others, recipe.scores, recipe.decide, seed, control=labels)
    return decision_page(made, judged, f"rule of {recipe.name}, seed {recipe.seed}, on given answers", _APPROVAL)


def _read(folder: Path) -> pa.Table:
    if not folder.is_dir():
        raise SalusError(f"There is no folder of judged answers {folder}; name one that holds their Parquet shards.")
    table = pa.concat_tables([read_shard(file, JUDGMENT_SCHEMA) for file in shard_files(folder)])
    if not table.num_rows:
        raise SalusError(f"{folder} holds no judged answer; judge some first.")
    return table
