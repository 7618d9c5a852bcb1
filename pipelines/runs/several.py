"""Folders of several runs: where every file of a study or of a fleet is. The only place that knows their layout."""

from __future__ import annotations

from pathlib import Path

from actors.contract.run_folder import RunFolder


class SeveralFolder:
    """Paths below the root of several runs, which have one Ray together; makes no files itself."""

    # The file of the settings, and the folder of the runs.
    SETTINGS = ""
    RUNS = ""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def settings(self) -> Path:
        """The resolved configuration of them all."""
        return self.root / self.SETTINGS

    @property
    def runs(self) -> Path:
        """The run folders, their recipes and their logs."""
        return self.root / self.RUNS

    @property
    def cost(self) -> Path:
        """What they took together so far."""
        return self.root / "cost.json"

    @property
    def trainers(self) -> Path:
        """What trainers that they share keep while they are up."""
        return self.root / "trainers"

    def run(self, name: str) -> RunFolder:
        """The run folder of one of them."""
        return RunFolder(self.runs / name)

    def recipe(self, name: str) -> Path:
        """The recipe that it is started with."""
        return self.runs / f"{name}.yaml"

    def log(self, name: str) -> Path:
        """What its process last wrote."""
        return self.runs / f"{name}.log"


class StudyFolder(SeveralFolder):
    """Paths below one study's root.

    ```
    study.yaml  cost.json  cells/CELL/ (a run folder)  cells/CELL.yaml  cells/CELL.log
    study.json  study.md  figure{2,3,4,5}.png
    harness/POLICY/capability.json  (what `salus capability --tasks` was told to leave there)
    ```
    """

    SETTINGS = "study.yaml"
    RUNS = "cells"

    @property
    def report(self) -> Path:
        return self.root / "study.json"

    @property
    def harness(self) -> Path:
        """Figures of harness tasks, a folder for each policy that was measured by hand."""
        return self.root / "harness"

    @property
    def page(self) -> Path:
        """The report's tables in Markdown."""
        return self.root / "study.md"

    def figure(self, number: int) -> Path:
        """Numbered as the figure of the paper whose kind it is."""
        return self.root / f"figure{number}.png"


class FleetFolder(SeveralFolder):
    """Paths below one fleet's root.

    ```
    fleet.yaml  cost.json  policies/NAME/ (a run folder)  policies/NAME.yaml  policies/NAME.log
    serve.yaml
    ```
    """

    SETTINGS = "fleet.yaml"
    RUNS = "policies"

    @property
    def serving(self) -> Path:
        """Settings of `salus serve`, for all policies that may be served."""
        return self.root / "serve.yaml"
