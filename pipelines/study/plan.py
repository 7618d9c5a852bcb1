"""Whether the cells that may run at the same time fit, computed before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from actors.errors import SalusError
from pipelines.cluster.devices import Resources
from pipelines.cluster.plan import UNITS, Demand, Plan, check, make_plan
from pipelines.study.cells import Cell


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
                f" {needed - has:.1f} too few; lower side_by_side, ask for less in set, or say with cluster.{override}"
                " how much there will be."
            )
    return plan
