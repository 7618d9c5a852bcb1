"""One fine-tuning of a judge, from the base model's folder to a judge's folder (SFT with LoRA, by TRL), on every rank.

asked --prepare--> rows staged, model loaded --train--> trained in memory --save--> training.json written

Imports no Ray; `actors.training.alone.judge_loop` runs it inside Ray Train. It imports torch and TRL: import it where
one trains.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import datasets
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

from actors.contract.records import JudgeAssignment, JudgeTraining
from actors.engine.tokenizer import load_tokenizer
from actors.errors import SalusError
from actors.files.atomic import make_folder, move_into_place, remove
from actors.training.adapter import language_layers, load_model
from actors.training.alone.judge_rows import JudgeRows
from actors.training.config import JudgeTrainConfig
from actors.training.made_from import JUDGE_REPORT, finished_judge, judge_made_from, write_finished
from actors.training.progress import Tell
from actors.training.ranks import all_or_none, from_rank_zero, rank
from actors.training.trl import TrainingJob, TrlTraining, common_arguments, freed, half_precision, lora_config, silence


class JudgeTrainingRun:
    """Trains one judge as assigned, and writes it, `adapter/` and `training.json` to the assignment's output.

    Under torch.distributed every rank makes one for the same assignment, and rank 0 writes. The same seed gives the
    same weights on one machine with the same number of workers and threads.

    Life: `JudgeTrainingRun(...)` -> `report`
    """

    def __init__(self, config: JudgeTrainConfig, assignment: JudgeAssignment, on_step: Tell | None = None) -> None:
        """`on_step(step, total)` is called after each optimizer step."""
        self.config = config
        self.assignment = assignment
        self.on_step = on_step
        self.output = Path(assignment.output)
        self.job = TrainingJob(
            name=f"Training of the judge {self.output.name}",
            rate_setting="judge.train.learning_rate",
            lora_setting="judge.train.lora",
            learning_rate=self.config.learning_rate,
            base=Path(assignment.base.path),
            output=self.output,
            merges=True,
        )

    def report(self) -> JudgeTraining:
        """The report of this job: the one on disk where it is complete, or that of training now.

        Raises:
            SalusError: on every rank alike, for a missing or unusable model, labels its tokenizer does not tell apart,
                and unusable rows. Also for settings TRL refuses, a loss that is not finite, and training that changed
                nothing.
        """
        started = time.monotonic()
        done = from_rank_zero(finished_judge(self.config, self.assignment) if rank() == 0 else None)
        if done is not None:
            return done
        silence()
        with freed():
            return self._trained(started)

    def _trained(self, started: float) -> JudgeTraining:
        """The report of training now. The model is in its frame alone, and goes with it."""
        with all_or_none():
            tokenizer = load_tokenizer(self.job.base)
            rows = self._stage(tokenizer) if rank() == 0 else 0
        rows = from_rank_zero(rows)
        with all_or_none():
            training = TrlTraining(self._trl_trainer(tokenizer), self.job, self.on_step)
        training.train()
        return training.save(self.config.fsdp, lambda change: self._finish(training, rows, change, started))

    def _stage(self, tokenizer: PreTrainedTokenizerBase) -> int:
        judge_rows = JudgeRows(tokenizer, self.assignment.prompt, self.assignment.max_model_len)
        try:
            shutil.rmtree(self.job.work, ignore_errors=True)
            # On disk before anything it tells of is changed.
            remove(self.output / JUDGE_REPORT)
            make_folder(self.job.work)
            return judge_rows.stage(Path(self.assignment.rows), self.job.work / "rows.arrow")
        except OSError as error:
            raise SalusError(f"The judge's folder {self.output} cannot be written ({error}); free it.") from error

    def _trl_trainer(self, tokenizer: PreTrainedTokenizerBase) -> SFTTrainer:
        # The frozen base stays in the computing dtype.
        model = load_model(self.job.base, half_precision(self.config))
        try:
            trl_trainer: SFTTrainer = SFTTrainer(
                model=model,
                args=judge_arguments(self.config, self.assignment.seed, self.job.work / "trl"),
                train_dataset=datasets.Dataset.from_file(str(self.job.work / "rows.arrow")),
                processing_class=tokenizer,
                peft_config=lora_config(self.config.lora, language_layers(model)),
            )
        except ValueError as error:
            raise SalusError(f"TRL refused the settings of judge.train for {self.job.base}: {error}") from error
        return trl_trainer

    def _finish(self, training: TrlTraining, rows: int, change: float, started: float) -> JudgeTraining:
        """The judge put in place and its report written."""
        self._put_in_place()
        report = JudgeTraining(
            **training.figures(rows, change, time.monotonic() - started).model_dump(),
            judge=str(self.output),
            adapter=str(self.output / "adapter"),
        )
        write_finished(self.output / JUDGE_REPORT, judge_made_from(self.config, self.assignment), report)
        return report

    def _put_in_place(self) -> None:
        """The adapter into its subfolder, the judge's own files into the output itself."""
        shutil.rmtree(self.output / "adapter", ignore_errors=True)
        move_into_place(self.job.adapter, self.output / "adapter")
        # Another try may have got this far with a model that is cut into other files.
        for stale in self.output.glob("model*.safetensors*"):
            stale.unlink()
        for file in self.job.merged.iterdir():
            move_into_place(file, self.output / file.name)


def judge_arguments(config: JudgeTrainConfig, seed: int, folder: Path) -> SFTConfig:
    """The arguments of an `SFTTrainer` whose rows come as token ids and labels, cut to length already."""
    return SFTConfig(
        **common_arguments(config, config, seed, folder),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
