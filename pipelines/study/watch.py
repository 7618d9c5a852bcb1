"""One line per running cell: the cycle it has reached, by the files of its run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipelines.cluster.progress import Bar, Reporter
from pipelines.decision.ending import is_over, past_decisions
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
