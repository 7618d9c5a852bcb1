"""The study's folder: where every file of a study is. The only place that knows its layout."""

from __future__ import annotations

from pathlib import Path

from actors.contract.run_folder import RunFolder


class StudyFolder:
    """Paths below one study's root; makes no files itself.

    ```
    study.yaml  cost.json  cells/CELL/ (a run folder)  cells/CELL.yaml  cells/CELL.log
    study.json  study.md  figure{2,3,4,5}.png
    ```
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def study(self) -> Path:
        """The study's resolved configuration."""
        return self.root / "study.yaml"

    @property
    def cost(self) -> Path:
        """What the study took so far."""
        return self.root / "cost.json"

    @property
    def report(self) -> Path:
        return self.root / "study.json"

    @property
    def page(self) -> Path:
        """The report's tables in Markdown."""
        return self.root / "study.md"

    def figure(self, number: int) -> Path:
        """Numbered as the figure of the paper whose kind it is."""
        return self.root / f"figure{number}.png"

    def run(self, cell: str) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.root / "cells" / cell)

    def recipe(self, cell: str) -> Path:
        """The recipe a cell is started with."""
        return self.root / "cells" / f"{cell}.yaml"

    def log(self, cell: str) -> Path:
        """What a cell's process last wrote."""
        return self.root / "cells" / f"{cell}.log"
