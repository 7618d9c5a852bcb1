"""One line per running cell: the cycle it has reached, by the files of its run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from actors.run_folder import RunFolder
from pipelines.progress import Bar, Reporter
from pipelines.study.cells import Cell
from pipelines.study.jobs import Job, last_sentence


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
        self._bars[job.name].at(decided_cycles(cell.run, cell.recipe.cycles), cell.recipe.cycles)

    def ended(self, job: Job, code: int) -> None:
        if code == 0:
            self.running(job)
        self._bars.pop(job.name).close()
        if code != 0:
            self._reporter.say(f"cell {job.name} failed: {last_sentence(job.log, code)} (log: {job.log})")

    def stopping(self, jobs: Sequence[Job]) -> None:
        names = ", ".join(job.name for job in jobs)
        self._reporter.say(f"ending {names}, which may take a minute; Ctrl-C again kills")


def decided_cycles(run: RunFolder, cycles: int) -> int:
    """How many of a run's cycles have a decision, counted from the first without a gap."""
    return next((cycle - 1 for cycle in range(1, cycles + 1) if not run.decision(cycle).is_file()), cycles)
