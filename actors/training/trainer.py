"""The training actor: an assignment in; an adapter, a merged policy and a report out (KTO or DPO, by TRL).

Imports no Ray; `training_loop` runs it inside Ray Train. Under torch.distributed every rank calls `train`
with the same assignment, and rank 0 writes. Torch and TRL are imported late: reading a config stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from actors.contract.records import Assignment, TrainReport
from actors.training.config import TrainConfig


class Trainer:
    """Trains one challenger per assignment; holds no model between two of them.

    idle --train--> staged rows --TRL--> trained --rank 0--> adapter/, merged/, report.json --> idle

    `checkpoints`: a folder that all ranks see, where the config asks for checkpoints; there is one for each assignment
    in the making.
    """

    def __init__(self, config: TrainConfig, checkpoints: Path | None = None) -> None:
        self.config = config
        self.checkpoints = checkpoints

    def train(self, assignment: Assignment, on_step: Callable[[int, int], None] | None = None) -> TrainReport:
        """Train as assigned and write `adapter/`, `merged/` and `report.json` to the assignment's output.

        `on_step(step, total)` is called after each optimizer step. An output that is already complete for
        this very assignment and config is returned as it is; one that was cut short goes on from its last whole
        checkpoint. The same seed gives the same weights on one machine with the same number of workers and
        threads, cut short or not. Raises SalusError, on every rank alike, for a missing or unusable model,
        unusable rows, settings TRL refuses, a loss that is not finite, and training that changed nothing; and
        FullDiskError, perhaps on one rank alone.
        """
        from actors.training.challenger import TrainingRun

        return TrainingRun(self.config, assignment, on_step, self.checkpoints).report()
