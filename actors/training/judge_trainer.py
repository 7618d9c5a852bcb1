"""The judge's trainer: labelled answers in; an adapter and a merged judge out (SFT with LoRA, by TRL).

Imports no Ray; `judge_training_loop` runs it inside Ray Train. Under torch.distributed every rank calls `train`
with the same assignment, and rank 0 writes. Torch and TRL are imported late: reading a config stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from actors.contract.records import PolicyRef, Record, TrainingFigures
from actors.training.config import JudgeTrainConfig
from actors.training.made_from import MadeFrom, read_finished

REPORT = "training.json"


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
