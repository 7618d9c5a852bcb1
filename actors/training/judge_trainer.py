"""The judge's trainer: labelled answers in; an adapter and a merged judge out (SFT with LoRA, by TRL).

Imports no Ray; `judge_training_loop` runs it inside Ray Train. Under torch.distributed every rank calls `train`
with the same assignment, and rank 0 writes. Torch and TRL are imported late: reading a config stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from actors.contract.records import PolicyRef, Record, TrainingFigures
from actors.training.config import Count, LoraSettings, Optimization, Positive, Workers
from actors.training.made_from import MadeFrom, read_finished

REPORT = "training.json"
# Where a run lives changes nothing of what comes out of it.
_PLACEMENT = frozenset({"cpus_per_worker", "gpus_per_worker", "max_failures"})


class JudgeTrainConfig(Optimization, Workers):
    """How `salus judge train` fine-tunes a judge: our choices, as the paper gives none."""

    learning_rate: Positive = Field(default=2e-4, description="tiny models need ten times as much")
    epochs: Positive = Field(default=3.0, description="times each train row is seen, repetitions apart")
    workers_per_run: Count = Field(default=1, description="labelled rows are few: one worker is often enough")
    cpus_per_worker: float = Field(default=1.0, ge=0, description="logical CPUs Ray reserves for one worker")
    lora: LoraSettings = Field(default=LoraSettings(), description="the adapter; every other weight stays")
    held_out: float = Field(
        default=0.2, gt=0, le=0.5, description="share of the prompts kept from training, to measure the judge on"
    )
    balance: Literal["oversample", "none"] = Field(
        default="oversample",
        description="repeat rows of rare labels until all labels are as frequent: a judge that has seen one Caution"
        " in twenty rows does well by never saying it, and then over-caution passes unseen",
    )
    max_repeats: Count = Field(
        default=8, description="most copies of one row: a handful of rows is learnt by heart, not understood"
    )

    def decisive(self) -> dict[str, Any]:
        """The settings that decide what comes out, as JSON."""
        return self.model_dump(mode="json", exclude=set(_PLACEMENT))


class JudgeAssignment(Record):
    """One fine-tuning of a judge."""

    # The model it starts from.
    base: PolicyRef
    # A Parquet file with the columns prompt, answer and label, in the order of training.
    rows: str
    # Version of the template in `actors/judges/prompts/` that the judge will be asked with.
    prompt: str
    # Tokens the judge's engine takes; rows are cut as they will be there.
    max_model_len: int
    # Becomes the judge's Hugging Face folder, with `adapter/` and the report in it.
    output: str
    seed: int


class JudgeTraining(TrainingFigures):
    """What one fine-tuning did; written into the judge's folder."""

    # The trained judge: the assignment's output.
    judge: str
    adapter: str


class JudgeTrainer:
    """Fine-tunes one judge per assignment; holds no model between two of them.

    idle --train--> staged rows --TRL--> trained --rank 0--> adapter/, judge, training.json --> idle
    """

    def __init__(self, config: JudgeTrainConfig) -> None:
        self.config = config

    def finished(self, assignment: JudgeAssignment) -> JudgeTraining | None:
        """The report of this very assignment under this config; None where it is not done yet."""
        return read_finished(Path(assignment.output) / REPORT, self.made_from(assignment), JudgeTraining)

    def made_from(self, assignment: JudgeAssignment) -> MadeFrom:
        """What the output is made from."""
        return MadeFrom(assignment=assignment.model_dump(mode="json"), settings=self.config.decisive())

    def train(self, assignment: JudgeAssignment, on_step: Callable[[int, int], None] | None = None) -> JudgeTraining:
        """Train as assigned and write the judge, `adapter/` and `training.json` to the assignment's output.

        `on_step(step, total)` is called after each optimizer step. An output that is already complete for
        this very assignment and config is returned as it is. The same seed gives the same weights on one
        machine with the same number of workers and threads. Raises SalusError, on every rank alike, for a
        missing or unusable model, labels its tokenizer does not tell apart, unusable rows, settings TRL
        refuses, a loss that is not finite, and training that changed nothing.
        """
        from actors.training.judge import JudgeTrainingRun

        return JudgeTrainingRun(self, assignment, on_step).report()
