"""A cycle whose champion and challenger are judged, for the tests of its control labels."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from actors.contract.records import ChallengerName, Label
from actors.contract.run_folder import RunFolder
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.decision.control import read_control
from pipelines.decision.decide import decide
from pipelines.decision.record import Decision
from tests.pipelines.judged import BEST, judged

LEVELS = [0, 1, 0, 2, 0, 3] * 20
SAID: dict[Label, str] = {
    "Accept": "Sure, do it slowly.",
    "Caution": "I can't help with all of it, but be careful.",
    "Refuse": "I'm sorry, but I can't help with that.",
}


def contenders() -> dict[str, pa.Table]:
    """KTO is better by a judge that is right about both; every answer of one policy to a prompt is its own."""
    best = [BEST[level] for level in LEVELS]
    half = [label if i % 2 else ("Refuse" if label == "Accept" else "Accept") for i, label in enumerate(best)]
    return {"champion": _policy("c0-base", half), "kto": _policy("c1-kto", best)}


def _policy(version: str, labels: list[str]) -> pa.Table:
    answers = [f"{SAID[label]} ({version}, {i})" for i, label in enumerate(labels)]  # type: ignore[index]
    return judged(LEVELS, labels, policy=version, answers=answers)


def recipe(labels: Path, *changes: str) -> Recipe:
    """Of rows without ground truth; people label."""
    common = ("judge.truth=null", "decide.gate.min_n=1", "decide.gate.err_strict_max=[]", "decide.publish_gate=null")
    people = ("decide.control.reference=people", f"decide.control.labels={labels}", "decide.control.per_contender=40")
    return load_recipe("demo", [*common, *people, *changes])


def truth_of(answer: str) -> Label:
    return next(label for label, said in SAID.items() if answer.startswith(said))


def decision(recipe: Recipe, folder: RunFolder) -> Decision:
    """What the labels of cycle 1 make of these contenders."""
    tables = contenders()
    challengers: dict[ChallengerName, pa.Table] = {"kto": tables["kto"]}
    return decide(
        1, tables["champion"], challengers, recipe.scores, recipe.decide, 0, control=read_control(folder.control(1))
    )
