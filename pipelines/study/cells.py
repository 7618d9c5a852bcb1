"""Cells: each model of a study under each regimen, as the recipe of one ordinary run."""

from __future__ import annotations

from dataclasses import dataclass

from actors.errors import SalusError
from actors.judges.regimens import Regimen
from pipelines.config.load import load_recipe
from pipelines.runs.several import StudyFolder
from pipelines.study.config import StudyConfig, StudyModel, StudyRegimen
from pipelines.study.fleet.member import Member


@dataclass(frozen=True, kw_only=True)
class Cell(Member):
    """One model under one regimen."""

    model: str
    regimen: Regimen


def cells_of(study: StudyConfig, folder: StudyFolder) -> tuple[Cell, ...]:
    """All cells, regimen by regimen: models that run side by side are then at the same validator.

    Raises:
        SalusError: a cell's settings do not make a recipe; names the cell.
    """
    return tuple(_cell(study, model, regimen, folder) for regimen in study.regimens for model in study.models)


def _cell(study: StudyConfig, model: StudyModel, regimen: StudyRegimen, folder: StudyFolder) -> Cell:
    name = f"{model.name}-{regimen.name}"
    own = [
        f"name={study.name}-{name.lower()}",
        f"seed={study.seed}",
        f"cycles={study.cycles}",
        f"judge.regimen={regimen.name}",
        # Several policies would fight for one port, and a study serves no client.
        "publish.enabled=false",
    ]
    try:
        recipe = load_recipe(model.recipe or study.recipe, [*study.set, *model.set, *regimen.set, *own])
    except SalusError as error:
        raise SalusError(f"Cell {name} of study {study.name}: {error.sentence}") from error
    recipe = recipe.model_copy(update={"cluster": study.cluster})
    run = folder.run(name)
    return Cell(name=name, recipe=recipe, run=run, kind="cell", model=model.name, regimen=regimen.name)
