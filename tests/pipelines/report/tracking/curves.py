"""Training curves in a run folder, for the tests of trackers and of what shows them."""

from __future__ import annotations

from actors.contract.run_folder import RunFolder
from actors.training.progress import CurveFile


def put_curve(folder: RunFolder, cycle: int, name: str, steps: int) -> None:
    """A curve of so many steps; its loss is 1 / step."""
    logs = [{"step": s, "loss": 1 / s, "learning_rate": 1e-4, "rewards/margins": 0.1 * s} for s in range(1, steps + 1)]
    CurveFile(folder.curve(cycle, name)).write(logs)
