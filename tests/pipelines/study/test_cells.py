"""Cells that may run at the same time must fit at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.cluster.devices import Resources
from pipelines.cluster.plan import make_plan
from pipelines.study.cells import check_side_by_side, side_by_side_plan
from tests.pipelines.study.cells import cells, study


def machine(memory_gib: float, cpus: float | None = None) -> Resources:
    return Resources(where="this machine", cpus=cpus, gpus=0, node_gpus=0, memory_gib=memory_gib, gpu_memory_gib=None)


def test_the_plan_holds_as_many_cells_as_may_meet(tmp_path: Path) -> None:
    made = cells(study("EXT", "RULES"), tmp_path)
    one = [make_plan(cell.recipe) for cell in made]
    dearest = max(plan.memory_gib for plan in one)
    assert side_by_side_plan("small", made, 1).memory_gib == dearest
    assert side_by_side_plan("small", made, 2).memory_gib == pytest.approx(2 * dearest)
    # Never more than there are.
    assert side_by_side_plan("small", made, 99).memory_gib == pytest.approx(sum(plan.memory_gib for plan in one))


def test_what_does_not_fit_side_by_side_is_one_sentence(tmp_path: Path) -> None:
    made = cells(study("EXT"), tmp_path)
    one = make_plan(made[0].recipe)
    check_side_by_side("small", made, 1, machine(one.memory_gib))
    with pytest.raises(SalusError, match=r"2 cells of study small side by side need .* GiB of memory.*side_by_side"):
        check_side_by_side("small", made, 2, machine(one.memory_gib + 1))
    with pytest.raises(SalusError, match="2 cells of study small side by side need 10 CPUs"):
        check_side_by_side("small", made, 2, machine(99, cpus=one.cpus))


def test_one_cell_that_does_not_fit_is_told_as_a_run_is(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"Recipe small-wide-ext needs .* GiB of memory"):
        check_side_by_side("small", cells(study("EXT"), tmp_path), 2, machine(1))
