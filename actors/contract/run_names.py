"""How a run's files name other files: written by these names, and found again by them, here alone.

What is in the run is named relative to its root. The deployed policy, which is outside, is named by one word. So a run
is the same to the last byte wherever it is worked on, and what it names is there wherever it is read. Absolute paths,
as earlier versions wrote them, are read too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors.contract.records import Assignment, ChallengerName, TrainReport
from actors.contract.run_folder import RunFolder
from actors.files.records import find_record

# The deployed policy: `run.json` says where it was and what it held.
POLICY = "model:policy"
# What of an assignment is of one session or one machine alone.
_PASSING = ("index", "run")


class RunNames:
    """The names of one run."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def name(self, path: str) -> str:
        """Of a path in the run; one outside keeps its own."""
        place = Path(path)
        return place.relative_to(self._folder.root).as_posix() if place.is_relative_to(self._folder.root) else path

    def policy(self, path: str) -> str:
        """Of a policy's folder; what is not a challenger of the run is the deployed one, wherever it is."""
        place = Path(path)
        inside = place.is_relative_to(self._folder.root) and not place.is_relative_to(self._folder.models)
        return self.name(path) if inside else POLICY

    def path(self, name: str) -> str:
        """Where that is now; the deployed policy's name stays as it is."""
        return name if name == POLICY else str(self._folder.root / name)

    def sentence(self, text: str) -> str:
        """A sentence without the place of the run."""
        return text.replace(f"{self._folder.root}/", "")

    # -- records of training

    def job(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        """An assignment as JSON, as it is written and compared: by these names, whatever names it has."""
        kept = {name: value for name, value in assignment.items() if name not in _PASSING}
        for name in {"champion", "reference"} & kept.keys():
            kept[name] = kept[name] | {"path": self.policy(self.path(kept[name]["path"]))}
        return kept | {name: self.name(kept[name]) for name in ("rows", "output") if name in kept}

    def written(self, report: TrainReport) -> TrainReport:
        """A report with these names for its paths."""
        return _with_paths(report, self.name)

    def found(self, report: TrainReport) -> TrainReport:
        """A report that was read, with paths for its names."""
        return _with_paths(report, self.path)


def names_of(assignment: Assignment) -> RunNames | None:
    """The names of the run a job belongs to; None where it is of no run."""
    return RunNames(RunFolder(Path(assignment.run))) if assignment.run is not None else None


def read_report(folder: RunFolder, cycle: int, name: ChallengerName) -> TrainReport | None:
    """The report of a challenger's training; None where that has not come to its end.

    Raises:
        SalusError: it cannot be read.
    """
    path = folder.training(cycle, name) / "report.json"
    report = find_record(TrainReport, path, "a report of training", "delete its folder to train anew")
    return RunNames(folder).found(report) if report is not None else None


def _with_paths(report: TrainReport, to: Callable[[str], str]) -> TrainReport:
    challenger = report.challenger.model_copy(update={"path": to(report.challenger.path)})
    return report.model_copy(update={"challenger": challenger, "adapter": to(report.adapter)})
