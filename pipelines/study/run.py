"""A study, read aloud: models built, one Ray up, cells a few at a time, Ray down, one report of all."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from actors.errors import SalusError
from actors.files.private import private_files
from actors.files.records import find_record
from actors.files.shards import write_text
from pipelines.cluster.devices import Resources
from pipelines.cluster.machine.memory import MemoryWatch
from pipelines.cluster.plan import available
from pipelines.cluster.progress import Bar, Reporter
from pipelines.config.load import save_recipe
from pipelines.decision.ending import is_over, past_decisions
from pipelines.judges.evidence import judge_before_run
from pipelines.runs.lease.files import clear, is_empty
from pipelines.runs.lease.lease import Lease, hold
from pipelines.runs.lengths import check_run_lengths
from pipelines.runs.materials import gather_models
from pipelines.runs.open import check_same
from pipelines.runs.study_folder import StudyFolder
from pipelines.runs.summary import complete_summary
from pipelines.study.cells import Cell, cells_of, check_side_by_side
from pipelines.study.cluster import study_cluster
from pipelines.study.config import StudyConfig
from pipelines.study.figures import draw_study
from pipelines.study.jobs import Job, last_sentence, run_jobs
from pipelines.study.results import Failure, StudyCost, StudyReport, study_report
from pipelines.study.tables import study_page


class CellWatch:
    """Tells a reporter of every cell that starts, goes on and ends; `check_lease` ends them all where it raises."""

    def __init__(
        self, cells: Mapping[str, Cell], reporter: Reporter, check_lease: Callable[[], None] = lambda: None
    ) -> None:
        self._cells, self._reporter, self._check_lease = cells, reporter, check_lease
        self._bars: dict[str, Bar] = {}

    def started(self, job: Job) -> None:
        cycles = self._cells[job.name].recipe.cycles
        self._bars[job.name] = self._reporter.bar(f"cell {job.name}", cycles, "cycles")

    def running(self, job: Job) -> None:
        self._check_lease()
        cell = self._cells[job.name]
        decided = past_decisions(cell.run, cell.recipe.cycles)
        over = is_over(decided, cell.recipe.cycles)
        self._bars[job.name].at(len(decided), len(decided) if over else cell.recipe.cycles)

    def ended(self, job: Job, code: int) -> None:
        if code == 0:
            self.running(job)
        self._bars.pop(job.name).close()
        if code != 0:
            self._reporter.say(f"cell {job.name} failed: {last_sentence(job.log, code)} (log: {job.log})")

    def stopping(self, jobs: Sequence[Job]) -> None:
        names = ", ".join(job.name for job in jobs)
        self._reporter.say(f"ending {names}, which may take a minute; Ctrl-C again kills")


def study_root(study: StudyConfig, run: Path | None) -> Path:
    """Where a study is: as told, or `runs/NAME-sSEED`."""
    return run or Path("runs") / f"{study.name}-s{study.seed}"


@private_files()
def run_study(study: StudyConfig, root: Path, reporter: Reporter, fresh: bool = False) -> StudyReport:
    """Run all cells of a study, or what is left of them; returns the report written to its folder.

    A cell that fails stops no other; the report names it, and the same call goes on with it.

    Args:
        root: the study's folder; cells that are complete there are not started.
        fresh: forget what the study's cells hold.

    Raises:
        SalusError: whatever the user can mend, before anything costly where that can be known. Also where another
            process is at work in the folder, or has taken it over.
    """
    folder = StudyFolder(root)
    cells = cells_of(study, folder)
    # Nothing is left in a folder of something else, not even a lease.
    _check_study(folder)
    with hold(folder.root, study.cluster.lease_s, reporter.say) as lease:
        open_study(study, folder, cells, fresh, reporter)
        left = cells_left(cells)
        for cell in cells:
            if cell not in left:
                reporter.say(f"cell {cell.name} is complete")
        failed = _run_cells(study, folder, left, reporter, lease) if left else {}
        return write_report(study, folder, cells, failed)


def open_study(study: StudyConfig, folder: StudyFolder, cells: Sequence[Cell], fresh: bool, reporter: Reporter) -> None:
    """Set the study's folder up, or take a known one up again; what it was asked for is written there.

    For the holder of the study's lease. A cell's run folder has a lease of its own, which its process takes.

    Raises:
        SalusError: it is something else, or a cell was begun with other settings; or a cell that `fresh` forgets is
            at work.
    """
    _check_study(folder)
    begun = [cell for cell in cells if cell.run.recipe.is_file()]
    if fresh:
        _forget(begun, study.cluster.lease_s, reporter)
        folder.cost.unlink(missing_ok=True)
    else:
        for cell in begun:
            check_same(cell.recipe, cell.run)
    save_recipe(study, folder.study)


def _check_study(folder: StudyFolder) -> None:
    if not folder.study.is_file() and not is_empty(folder.root):
        raise SalusError(f"{folder.root} is not empty and is not a study of Salus; give another folder with --run.")


def _forget(cells: Sequence[Cell], lease_s: float, reporter: Reporter) -> None:
    """Clear the run folders of cells: all of them, or none where one is at work."""
    with ExitStack() as held:
        for cell in cells:
            held.enter_context(hold(cell.run.root, lease_s, reporter.say))
        for cell in cells:
            clear(cell.run.root)


def cells_left(cells: Sequence[Cell]) -> list[Cell]:
    """The cells whose run is not over."""
    return [cell for cell in cells if complete_summary(cell.run.summary, cell.recipe.cycles) is None]


def write_report(
    study: StudyConfig, folder: StudyFolder, cells: Sequence[Cell], failed: dict[str, Failure]
) -> StudyReport:
    """Read all cells, write `study.json`, `study.md` and the figures, and return the report."""
    report = study_report(study, cells, failed, read_cost(folder))
    figures = draw_study(report, folder)
    write_text(study_page(report, figures), folder.page)
    write_text(report.model_dump_json(indent=2), folder.report)
    return report


def read_cost(folder: StudyFolder) -> StudyCost:
    """What the study took so far."""
    return find_record(StudyCost, folder.cost, "the cost of a study") or StudyCost()


def cell_job(cell: Cell, folder: StudyFolder, address: str, there: Resources) -> Job:
    """`salus align` of a cell, as a child that joins the study's Ray.

    A process of its own, because a driver has one Ray session, one namespace and one set of Ray Data settings.
    """
    place = [f"cluster.address={address}"]
    if cell.recipe.cluster.joined is None:
        # All cells were held against this machine's memory; Ray's own idea of it is smaller.
        place.append(f"cluster.memory_gib={there.memory_gib}")
    arguments = ["align", str(folder.recipe(cell.name)), "--run", str(cell.run.root)]
    arguments += [part for setting in place for part in ("--set", setting)]
    return Job(cell.name, (sys.executable, "-m", "pipelines.cli.main", *arguments), folder.log(cell.name))


def _run_cells(
    study: StudyConfig, folder: StudyFolder, cells: Sequence[Cell], reporter: Reporter, lease: Lease
) -> dict[str, Failure]:
    """Run these cells; returns those that failed, by name."""
    there = available(cells[0].recipe)
    plan = check_side_by_side(study.name, cells, study.side_by_side, there)
    start = time.perf_counter()
    with MemoryWatch() as memory:
        try:
            _prepare(cells, folder, reporter)
            with study_cluster(study.cluster, f"salus-{study.name}", plan.cpus) as address:
                jobs = [cell_job(cell, folder, address, there) for cell in cells]
                watch = CellWatch({cell.name: cell for cell in cells}, reporter, lease.check)
                codes = run_jobs(jobs, study.side_by_side, watch)
        finally:
            # A lost lease is the cause of whatever else went wrong, and the cost's file is its new holder's.
            lease.check()
            _add_cost(folder, time.perf_counter() - start, memory.peak_gib)
    return {
        job.name: Failure(sentence=last_sentence(job.log, codes[job.name]), log=str(job.log))
        for job in jobs
        if codes[job.name] != 0
    }


def _prepare(cells: Sequence[Cell], folder: StudyFolder, reporter: Reporter) -> None:
    """Write each cell's recipe, and build every model here: cells that share one would build it at the same time.

    Raises:
        SalusError: a cell's judge may not select policies, or a model is not there or too short; names the cell.
    """
    for cell in cells:
        with _named(cell):
            judge_before_run(cell.recipe)
        save_recipe(cell.recipe, folder.recipe(cell.name))
    for cell in cells:
        with _named(cell):
            models = gather_models(cell.recipe, reporter)
            check_run_lengths(cell.recipe, models.policy, models.judge)


@contextmanager
def _named(cell: Cell) -> Iterator[None]:
    """A fault found inside names the cell."""
    try:
        yield
    except SalusError as error:
        raise SalusError(f"Cell {cell.name}: {error.sentence}") from error


def _add_cost(folder: StudyFolder, wall_s: float, peak_memory_gib: float) -> None:
    known = read_cost(folder)
    cost = StudyCost(
        wall_s=round(known.wall_s + wall_s, 1),
        peak_memory_gib=round(max(known.peak_memory_gib, peak_memory_gib), 2),
    )
    write_text(cost.model_dump_json(indent=2), folder.cost)
