"""One training job from the champion's folder to a written challenger (by an algorithm of TRL), on every rank of a run.

asked --prepare--> rows staged, models loaded --train--> trained in memory --save--> report.json written

Imports no Ray; `actors.training.resident.loop` runs it inside Ray Train. It imports torch and TRL: import it where one
trains.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from actors.contract.records import Assignment, PolicyRef, TrainReport
from actors.contract.run_folder import CURVE
from actors.contract.run_names import names_of
from actors.engine.tokenizer import load_tokenizer
from actors.errors import SalusError
from actors.files.atomic import make_folder, move_into_place, remove
from actors.files.full_disk import disk_of
from actors.files.sums import file_sum
from actors.training.adapter import language_layers, load_model, settle_config
from actors.training.algorithms.sft import SFT
from actors.training.algorithms.table import row_of
from actors.training.checkpoints import Checkpoints
from actors.training.config import TrainConfig
from actors.training.made_from import finished_training, training_made_from, write_finished
from actors.training.progress import Tell
from actors.training.ranks import all_or_none, from_rank_zero, rank
from actors.training.rows import RowCount, check_prompts, plain_tokenizer, stage_rows
from actors.training.trl import TrainingJob, TrlTraining, freed, half_precision, lora_config, silence, trl_trainer

# Whose state is in a checkpoint; another version may read it another way.
_STATEFUL = ("torch", "transformers", "trl", "peft", "accelerate")


@dataclass(frozen=True)
class _Staged:
    """What rank 0 prepares for all: the rows, whose checkpoints are this job's, and the one to go on from."""

    count: RowCount
    job: str
    checkpoint: Path | None = None


@dataclass(frozen=True)
class _Models:
    """What a job reads from disk; the reference is None where TRL takes the champion as it was loaded."""

    tokenizer: PreTrainedTokenizerBase
    champion: PreTrainedModel
    reference: PreTrainedModel | None


class TokenisedRows(datasets.Dataset):  # type: ignore[misc]
    """Rows that TRL tokenises in several processes, to the same rows in the same order as in one.

    TRL gives all its steps as many. One step takes the neighbours of a batch together, for KTO's KL term. The parts of
    several processes would end within batches, so that one is done in this process.
    """

    def map(self, *args: Any, batched: bool = False, num_proc: int | None = None, **more: Any) -> TokenisedRows:
        mapped = super().map(*args, batched=batched, num_proc=None if batched else num_proc, **more)
        mapped.__class__ = TokenisedRows
        assert isinstance(mapped, TokenisedRows)
        return mapped


class TrainingRun:
    """Trains one challenger as assigned; writes `adapter/` (without LoRA `merged/`) and `report.json` to its output.

    Under torch.distributed every rank makes one for the same assignment, and rank 0 writes. The same seed gives the
    same weights on one machine with the same number of workers and threads, cut short or not.

    Life: `TrainingRun(...)` -> `report`
    """

    def __init__(
        self,
        config: TrainConfig,
        assignment: Assignment,
        on_step: Tell | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        """`on_step(step, total)`: called after each optimizer step; `checkpoints`: a folder that all ranks see.

        Both may be left out; checkpoints are kept, one folder an assignment in the making, where the config asks for
        them.
        """
        self.config = config
        self.assignment = assignment
        self.checkpoints = checkpoints / assignment.version if checkpoints is not None else None
        self.on_step = on_step
        self.names = names_of(assignment)
        self.settings = config.challengers[assignment.name]
        self.row = row_of(self.settings)
        # Of the recipe.
        self.section = "sft" if self.row is SFT else "train"
        self.output = Path(assignment.output)
        self.champion = Path(assignment.champion.path)
        self.job = TrainingJob(
            name=f"{assignment.algorithm.upper()} training of {assignment.version}",
            rate_setting=f"{self.section if self.row is SFT else f'train.challengers.{assignment.name}'}.learning_rate",
            lora_setting=f"{self.section}.lora",
            learning_rate=self.settings.learning_rate,
            base=self.champion,
            output=self.output,
            # No decision writes the whole weights of this one: it is the first champion.
            merges=self.row is SFT,
            curve=self.output / CURVE,
        )

    def report(self) -> TrainReport:
        """The report of this job: the one on disk where it is complete, or that of training now.

        A complete output of this very assignment and config is returned as it is. One that was cut short goes on from
        its last whole checkpoint.

        Raises:
            SalusError: on every rank alike, for a missing or unusable model, unusable rows, and settings TRL refuses.
                Also for a loss that is not finite, and training that changed nothing.
            FullDiskError: perhaps on one rank alone.
        """
        started = time.monotonic()
        done = from_rank_zero(finished_training(self.config, self.assignment) if rank() == 0 else None)
        if done is not None:
            self._drop_checkpoints()
            return done
        silence()
        with freed():
            report = self._trained(started)
        self._drop_checkpoints()
        return report

    def _trained(self, started: float) -> TrainReport:
        """The report of training now. The models are in its frame alone, and go with it."""
        with all_or_none():
            tokenizer = load_tokenizer(self.champion)
            staged = self._stage(tokenizer) if rank() == 0 else None
        staged = from_rank_zero(staged)
        assert staged is not None
        count, kept = staged.count, self._kept(staged.job)
        with all_or_none():
            models = _Models(
                tokenizer=tokenizer,
                champion=self._load_model(self.champion),
                reference=self._reference_model(),
            )
        # Outside of the rendezvous: TRL has the other ranks wait for the first one's rows, and they would miss it.
        with disk_of(self.output), all_or_none():
            training = TrlTraining(self._trl_trainer(models, count, kept), self.job, self.on_step, kept)
        training.train(staged.checkpoint)
        return training.save(self.config.fsdp, lambda change: self._finish(training, count, change, started))

    # -- prepare

    def _stage(self, tokenizer: PreTrainedTokenizerBase) -> _Staged:
        try:
            with disk_of(self.output):
                shutil.rmtree(self.job.work, ignore_errors=True)
                # On disk before anything it tells of is changed.
                remove(self.output / "report.json")
                remove(self.output / CURVE)
                make_folder(self.job.work)
                count = stage_rows(Path(self.assignment.rows), self.row.rows, self._rows, tokenizer)
                job = self._job_key()
                kept = self._kept(job)
                return _Staged(count, job, kept.last() if kept is not None else None)
        except OSError as error:
            raise SalusError(f"The training output {self.output} cannot be written ({error}); free it.") from error

    @property
    def _rows(self) -> Path:
        return self.job.work / "rows.arrow"

    def _kept(self, job: str) -> Checkpoints | None:
        """The checkpoints of this job; None where none are wanted."""
        if self.checkpoints is None or self.config.checkpoint_every_steps is None:
            return None
        return Checkpoints(self.checkpoints, job)

    def _drop_checkpoints(self) -> None:
        """What is finished needs none."""
        if self.checkpoints is not None and rank() == 0:
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _job_key(self) -> str:
        """A hash of all that decides what this job comes to: assignment, settings, rows, and who computes it."""
        versions = {name: metadata.version(name) for name in _STATEFUL}
        known = json.dumps(
            [training_made_from(self.config, self.assignment).job, file_sum(self._rows), versions], sort_keys=True
        )
        return hashlib.sha256(known.encode()).hexdigest()

    def _trl_trainer(self, models: _Models, count: RowCount, kept: Checkpoints | None) -> Trainer:
        folder, lora = kept.folder if kept is not None else self.job.work / "trl", self.config.lora
        try:
            trainer = trl_trainer(
                self.config,
                self.assignment,
                count,
                folder,
                model=models.champion,
                ref_model=models.reference,
                train_dataset=TokenisedRows.from_file(str(self._rows)),
                # TRL is given rendered messages.
                processing_class=plain_tokenizer(models.tokenizer),
                peft_config=lora_config(lora, language_layers(models.champion)) if lora is not None else None,
            )
        except ValueError as error:
            raise SalusError(
                f"TRL refused the {self.assignment.algorithm.upper()} settings for {self.champion}: {error}"
            ) from error
        assert isinstance(trainer.train_dataset, datasets.Dataset)
        if not len(trainer.train_dataset):
            raise SalusError(
                f"Every prompt in {self.assignment.rows} is longer than {self.section}.max_length_tokens "
                f"({self.config.max_length_tokens}); raise it."
            )
        check_prompts(trainer.train_dataset, models.tokenizer)
        return trainer

    def _load_model(self, folder: Path) -> PreTrainedModel:
        # LoRA keeps the frozen base in the computing dtype; a full fine-tune needs float32 master weights.
        return load_model(folder, half_precision(self.config) and self.config.lora is not None)

    def _reference_model(self) -> PreTrainedModel | None:
        """None where TRL's own, the model as it was loaded, is the right one: the champion; or where none is used."""
        reference = Path(self.assignment.reference.path)
        if not self.row.reference or self.config.reference == "champion" or reference == self.champion:
            return None
        return self._load_model(reference)

    # -- save

    def _finish(self, training: TrlTraining, count: RowCount, change: float, started: float) -> TrainReport:
        """The challenger put in place and its report written."""
        for folder in (self.job.adapter, self.job.merged):
            shutil.rmtree(self.output / folder.name, ignore_errors=True)
            if folder.is_dir():
                move_into_place(folder, self.output / folder.name)
        report = TrainReport(
            **training.figures(count.rows, change, time.monotonic() - started).model_dump(),
            algorithm=self.assignment.algorithm,
            cycle=self.assignment.cycle,
            challenger=PolicyRef(version=self.assignment.version, path=str(self.output / "merged")),
            adapter=str(self.output / ("adapter" if training.has_adapter else "merged")),
        )
        if self.names is not None and training.has_adapter:
            settle_config(self.output / "adapter", self.names.policy(str(self.champion)))
        written = self.names.written(report) if self.names is not None else report
        write_finished(self.output / "report.json", training_made_from(self.config, self.assignment), written)
        return report
