"""Cells: each model of a study under each regimen, as the recipe of one ordinary run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.judges.regimens import Regimen
from pipelines.cluster.devices import Resources
from pipelines.cluster.plan import UNITS, Demand, Plan, check, make_plan
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
        # Several policies would fight for one port, and a study serves no client.
        "publish.enabled=false",
    ]
    try:
        recipe = load_recipe(model.recipe or study.recipe, [*study.set, *model.set, *regimen.set, *own])
    except SalusError as error:
        raise SalusError(f"Cell {name} of study {study.name}: {error.sentence}") from error
    return Cell(model.name, regimen.name, recipe.model_copy(update={"cluster": study.cluster}), folder.run(name))


def side_by_side_plan(name: str, cells: Sequence[Cell], side_by_side: int) -> Plan:
    """What the costliest cells that may meet need together; rows are those of every cell."""
    plans = [make_plan(cell.recipe) for cell in cells]

    def most(what: Demand) -> float:
        each: list[float] = sorted((getattr(plan, what) for plan in plans), reverse=True)
        return round(sum(each[:side_by_side]), 1)

    return Plan(
        recipe=name,
        rows=tuple(row for plan in plans for row in plan.rows),
        cpus=most("cpus"),
        gpus=most("gpus"),
        memory_gib=most("memory_gib"),
        steps=(),
    )


def check_side_by_side(name: str, cells: Sequence[Cell], side_by_side: int, there: Resources) -> Plan:
    """The plan of the cells that may meet, if there is room for it.

    Raises:
        SalusError: one cell by itself, or as many as run side by side, need more than there is; says of what.
    """
    for cell in cells:
        check(make_plan(cell.recipe), there)
    plan = side_by_side_plan(name, cells, side_by_side)
    for what, (unit, override) in UNITS.items():
        needed, has = getattr(plan, what), getattr(there, what)
        if has is not None and needed > has:
            at_once = min(side_by_side, len(cells))
            raise SalusError(
                f"{at_once} cells of study {name} side by side need {needed:g} {unit}, but {there.where} has {has:g},"
                f" {needed - has:.1f} too few. Lower side_by_side, ask for less in set, or say with cluster.{override}"
                " how much there will be."
            )
    return plan
