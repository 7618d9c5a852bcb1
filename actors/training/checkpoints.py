"""Checkpoints inside one training: what a restarted worker goes on from is whole and of this very job, or nothing is.

step N: TRL writes checkpoint-N/ --all ranks are done--> marked with the sums of its files --> the one before removed
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from actors.contract.records import Record
from actors.files.atomic import sync_tree
from actors.files.shards import write_text
from actors.files.sums import file_sum
from actors.training.ranks import from_all, rank

MARK = "whole.json"
# As transformers names them.
_PREFIX = "checkpoint-"


class CheckpointMark(Record):
    """Written into a checkpoint last."""

    # Of all that decides what this job comes to.
    job: str
    # SHA-256 by name.
    files: dict[str, str]


class Checkpoints:
    """Those of one job, in a folder that every rank sees; for rank 0 alone.

    Life: `Checkpoints(folder, job)` -> [`last`] -> `mark`*, and the folder goes with the end of the job
    """

    def __init__(self, folder: Path, job: str) -> None:
        self.folder = folder
        self._job = job

    def last(self) -> Path | None:
        """The newest checkpoint that is whole and of this job; all others are removed."""
        newest = next((found for found in self._newest_first() if self._is_good(found)), None)
        self._keep_only(newest)
        return newest

    def mark(self, step: int) -> None:
        """Every rank has written its part of this step's checkpoint: from now on it counts, and no other does."""
        done = self.folder / f"{_PREFIX}{step}"
        sync_tree(done)
        write_text(CheckpointMark(job=self._job, files=_sums(done)).model_dump_json(), done / MARK)
        self._keep_only(done)

    def _newest_first(self) -> list[Path]:
        found = [path for path in self.folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]
        return sorted(found, key=step_of, reverse=True)

    def _is_good(self, checkpoint: Path) -> bool:
        try:
            mark = CheckpointMark.model_validate_json((checkpoint / MARK).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            return False
        return mark.job == self._job and mark.files == _sums(checkpoint)

    def _keep_only(self, kept: Path | None) -> None:
        for path in self._newest_first():
            if path != kept:
                shutil.rmtree(path, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _sums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARK)
    return {path.relative_to(folder).as_posix(): file_sum(path) for path in files}


class CheckpointKeeper(TrainerCallback):
    """Makes each checkpoint one that a training can go on from as if nothing had happened."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # After the last step come the weights themselves.
        control.should_save = control.should_save and state.global_step < state.max_steps
        # A loss that still waits to be logged is in no checkpoint.
        control.should_log = control.should_log or control.should_save

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # Each rank writes the state of its own random numbers.
        from_all(None)
        if rank() == 0:
            self.checkpoints.mark(state.global_step)
