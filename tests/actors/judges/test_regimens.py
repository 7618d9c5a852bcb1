"""The table of regimens is the one place that names them, and every row answers what is asked of it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from actors.judges.judge import PromptedScorer
from actors.judges.regimens import REGIMENS, Beside, Regimen, regimens, scorers
from pipelines.config.load import load_recipe
from tests.test_imports import PACKAGES, name, sources

TABLE = "actors/judges/regimens.py"
# The clinic builds two kinds of judge, which the table names for the regimens that use them.
CLINIC = {"pipelines/data/clinic/models.py", "pipelines/runs/materials.py"}
# What some regimens need beside.
SECTIONS = ["judge.remote.base_url=http://127.0.0.1:1/v1", "judge.remote.model=m", "judge.function=json:loads"]
# A recipe that is written for a user's own data begins with the rules, or with the judge that the user names.
WRITES_A_RECIPE = {"pipelines/cli/data.py", "pipelines/cli/init/command.py", "pipelines/cli/init/draft.py"}
SERVER = ["judge.remote.base_url=http://127.0.0.1:1/v1", "judge.remote.model=m"]


def test_no_other_file_names_a_regimen() -> None:
    """Not in a comparison, a key, a tuple or an argument: what depends on the regimen is asked of its row."""
    found = {name(file): named(file) for file in sources(*PACKAGES)}
    assert {file for file, lines in found.items() if lines} == {TABLE, *CLINIC, *WRITES_A_RECIPE}, found


def named(file: Path) -> list[int]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in REGIMENS]


def test_the_table_has_a_row_for_every_name() -> None:
    assert tuple(REGIMENS) == get_args(Regimen)
    assert len({row.colour for row in REGIMENS.values()}) == len(REGIMENS)


@pytest.mark.parametrize("regimen", REGIMENS)
def test_a_judge_that_needs_no_calibration_is_a_rule_of_the_answer_alone(regimen: Regimen) -> None:
    """Else nothing could measure it before a run, and an unmeasured judge would select policies."""
    row = REGIMENS[regimen]
    assert row.rule is None or (row.weights is None and row.prompts is None and row.name is not None)


@pytest.mark.parametrize("regimen", REGIMENS)
def test_its_judgments_are_named_by_the_row_or_by_its_weights(regimen: Regimen) -> None:
    row = REGIMENS[regimen]
    assert (row.name is None) == (row.weights is not None)
    assert row.memory_gib is not None or row.weights is not None


def test_those_beside_another_need_no_model() -> None:
    assert set(get_args(Beside)) <= set(regimens(lambda row: row.weights is None))


@pytest.mark.parametrize("regimen", regimens(lambda row: row.weights is None))
def test_a_scorer_is_built_for_those_without_a_model(regimen: Regimen) -> None:
    judge = load_recipe("llama-3.1-8b", [f"judge.regimen={regimen}", "judge.path=null", *SECTIONS]).judge
    (scorer,) = scorers(judge, None)
    assert (scorer.name, scorer.prompt_version) == (judge.name(None), judge.prompt_version)
    assert isinstance(scorer, PromptedScorer) == judge.row.scores_numbers
