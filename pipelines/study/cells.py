"""Cells: each model of a study under each regimen, as the recipe of one ordinary run."""

from __future__ import annotations

from dataclasses import dataclass

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.config.judge import Regimen
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.study_folder import StudyFolder
from pipelines.study.config import StudyConfig, StudyModel, StudyRegimen


@dataclass(frozen=True)
class Cell:
    """One model under one regimen; `run` is the folder of its run."""

    model: str
    regimen: Regimen
    recipe: Recipe
    run: RunFolder

    @property
    def name(self) -> str:
        return f"{self.model}-{self.regimen}"


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
        # Several policies would fight for one port, and a study serves nobody.
        "publish.enabled=false",
    ]
    try:
        recipe = load_recipe(model.recipe or study.recipe, [*study.set, *model.set, *regimen.set, *own])
    except SalusError as error:
        raise SalusError(f"Cell {name} of study {study.name}: {error.sentence}") from error
    return Cell(model.name, regimen.name, recipe.model_copy(update={"cluster": study.cluster}), folder.run(name))
