"""A judge fine-tuned on human labels: rows split by prompt, trained, measured on held-out prompts before and after.

prepared --train--> adapter and merged judge in the folder --measure--> calibration.json, report.json
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from actors.contract.records import JudgeAssignment, JudgeTraining, PolicyRef
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.judges.regimens import FINE_TUNED
from actors.training.alone.judge_loop import run_judge_training
from actors.training.alone.judge_rows import JUDGE_ROW_SCHEMA, JudgeRows
from actors.training.config import JudgeTrainConfig
from actors.training.made_from import finished_judge
from pipelines.cluster.demand import judge_training_demand
from pipelines.cluster.plan import staged_plan
from pipelines.cluster.progress import Reporter
from pipelines.cluster.session import session
from pipelines.cluster.turns.stages import Stage
from pipelines.config.recipe import Recipe
from pipelines.judges.bound import weights_as_found
from pipelines.judges.calibrate import PICTURE, MeasuredJudge, measure_judge
from pipelines.judges.calibrate import REPORT as CALIBRATION
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.human_labels import HumanLabels, labels_file
from pipelines.judges.pool import JudgeShards, judging
from pipelines.judges.shown.picture import draw_calibration
from pipelines.judges.spliced import spliced_answers
from pipelines.judges.training.report import ORDER, REPORT, JudgeTrainOrder, JudgeTrainReport, write_record
from pipelines.judges.training.split import Answers, TrainingSplit, label_counts, split_labels, training_rows
from pipelines.runs.materials import judge_name
from pipelines.runs.prompts.lengths import judge_length

TrainJudge = Callable[[JudgeTrainConfig, JudgeAssignment], JudgeTraining]
# The judge pool, with the base model's weights, up while it is open.
Judges = Callable[[], AbstractContextManager[JudgeShards]]


@dataclass(frozen=True)
class JudgeJob:
    """Everything a judge's training is made from, checked before anything starts."""

    # Its judge is the base model, alone and by its folder.
    recipe: Recipe
    base: PolicyRef
    labels: HumanLabels
    split: TrainingSplit
    # The trained judge's.
    folder: Path

    @property
    def length(self) -> int:
        """Tokens of a prompt and its label together, as in the judge's engine."""
        return judge_length(self.recipe, self.base)

    @property
    def order(self) -> JudgeTrainOrder:
        judge = self.recipe.judge
        return JudgeTrainOrder(
            model=self.base.path,
            labels=self.labels.source,
            labels_digest=_digest(self.labels.answers),
            prompt=judge.prompt,
            max_model_len=self.length,
            seed=self.recipe.seed,
            train=judge.train.decisive(),
        )

    @property
    def assignment(self) -> JudgeAssignment:
        return JudgeAssignment(
            base=self.base,
            rows=str(self.folder / "labels" / "train.parquet"),
            prompt=self.recipe.judge.prompt,
            max_model_len=self.length,
            output=str(self.folder),
            seed=derive_seed(self.recipe.seed, "judge training"),
        )

    @property
    def held_out(self) -> Path:
        return self.folder / "labels" / "held_out.parquet"

    @property
    def trained(self) -> PolicyRef:
        return PolicyRef(version=judge_name(FINE_TUNED, self.folder), path=str(self.folder))


def check_trainable(recipe: Recipe) -> None:
    """Refuse a judge that is no model of its own.

    Raises:
        SalusError: names its regimen and what to set.
    """
    if not recipe.judge.row.trainable:
        raise SalusError(
            f"The judge of recipe {recipe.name} is {recipe.judge.regimen}, which Salus does not train; name a model"
            " with --set judge.regimen=LMA --set judge.source=folder --set judge.path=DIR."
        )


def split_for(recipe: Recipe, labels: HumanLabels) -> TrainingSplit:
    """The labels as this recipe's seed splits them; raises as `split_labels` does."""
    seed = derive_seed(recipe.seed, "judge labels")
    return split_labels(labels.answers, labels.source, recipe.judge.train.held_out, seed)


def prepare(recipe: Recipe, labels: HumanLabels, split: TrainingSplit, base: PolicyRef, folder: Path) -> JudgeJob:
    """The job, once the base model is there.

    Raises:
        SalusError: its tokenizer or chat template cannot be taught the labels, or it holds fewer tokens than are set.
    """
    # Imported late: a bad label is found without torch.
    from actors.engine.model_folder import check_trainable
    from actors.engine.tokenizer import load_tokenizer

    judge = recipe.judge
    check_trainable(Path(base.path))
    JudgeRows(load_tokenizer(Path(base.path)), judge.prompt, judge_length(recipe, base))
    alone = judge.model_copy(update={"source": "folder", "path": base.path, "ensemble": None})
    return JudgeJob(recipe.model_copy(update={"judge": alone}), base, labels, split, folder.absolute())


def train_judge(job: JudgeJob, train: TrainJudge, judges: Judges) -> JudgeTrainReport:
    """Train and measure; the folder then holds judge, adapter, labels, `calibration.json` and `report.json`.

    A training that an earlier, interrupted command finished is not done again. Both judges are asked by one pool,
    the way they will be asked in a run.

    Raises:
        SalusError: as `JudgeTrainingRun.report` and the judge pool do.
    """
    config, answers = job.recipe.judge.train, job.split.train
    spliced = spliced_rows(answers, config.spliced, derive_seed(job.recipe.seed, "spliced rows"))
    write_record(job.order, job.folder / ORDER)
    seed = derive_seed(job.recipe.seed, "judge rows")
    rows = training_rows((*answers, *spliced), config.balance, config.max_repeats, seed)
    write_labels(rows, Path(job.assignment.rows))
    write_labels(job.split.held_out, job.held_out)
    training = finished_judge(config, job.assignment) or train(config, job.assignment)
    before, after = _measure(job, judges)
    report = JudgeTrainReport(
        order=job.order,
        training=training,
        train_labels=dict(label_counts(answers)),
        spliced=len(spliced),
        held_out_labels=dict(label_counts(job.split.held_out)),
        held_out_prompts=after.prompts,
        before=before.agreement,
        after=after.agreement,
        trust=after.trust,
    )
    after.write(job.folder / CALIBRATION)
    draw_calibration(after, job.folder / PICTURE)
    write_record(report, job.folder / REPORT)
    return report


def spliced_rows(answers: Answers, share: float, seed: int) -> Answers:
    """Spliced answers to train on, in both orders: a share of the answers labelled Accept in each."""
    most = math.ceil(share * label_counts(answers)["Accept"])
    return tuple(answer for order in spliced_answers(answers, most, seed).values() for answer in order)


def write_labels(answers: Answers, path: Path) -> None:
    """Labelled answers as one Parquet file, in their order, which `salus judge calibrate --labels` reads."""
    schema = JUDGE_ROW_SCHEMA.append(pa.field("prompt_id", pa.string())).append(pa.field("level", pa.int8()))
    write_table(pa.Table.from_pylist([answer.model_dump() for answer in answers], schema=schema), path)


def train_judge_on_ray(job: JudgeJob, reporter: Reporter) -> JudgeTrainReport:
    """As `train_judge`, with Ray Train and the recipe's judge pool; each has the machine to itself.

    Raises:
        SalusError: either does not fit, or one of them failed.
    """

    def train(config: JudgeTrainConfig, assignment: JudgeAssignment) -> JudgeTraining:
        bar = reporter.bar("training the judge", None, "steps")
        try:
            return run_judge_training(config, assignment, bar.at)
        finally:
            bar.close()

    turns = zip(("train the judge", "judge"), judge_training_demand(job.recipe), strict=True)
    plan = staged_plan(job.recipe, [Stage(name=name, rows=rows) for name, rows in turns])
    with session(job.recipe, f"salus-judge-{uuid.uuid4().hex[:8]}", plan):
        return train_judge(job, train, lambda: judging(job.recipe, job.base, reporter))


def _measure(job: JudgeJob, judges: Judges) -> tuple[CalibrationReport, CalibrationReport]:
    """The base model and the trained judge on the held-out answers."""
    held_out = HumanLabels(
        source=f"{job.labels.source}, held out", answers=job.split.held_out, file=labels_file(job.held_out)
    )
    fine_tuned = job.recipe.judge.model_copy(update={"regimen": FINE_TUNED, "path": job.trained.path})
    as_trained = job.recipe.model_copy(update={"judge": fine_tuned})
    # A run gives the trained judge its own chat template, with the switches of the recipe.
    found = MeasuredJudge(job.trained, job.trained, weights_as_found(as_trained, job.folder))
    with judges() as judge_shards:
        before, after = (
            measure_judge(recipe, held_out, job.folder / "held_out" / name, which, judge_shards)
            for name, recipe, which in (
                ("before", job.recipe, MeasuredJudge(job.base, job.base)),
                ("after", as_trained, found),
            )
        )
    return before, after


def _digest(answers: Answers) -> str:
    """A hash of the labelled answers, whatever their order."""
    # Without what is not known, so that the hash is that of earlier versions, which knew no levels.
    rows = "\n".join(sorted(answer.model_dump_json(exclude_none=True) for answer in answers))
    return hashlib.sha256(rows.encode()).hexdigest()[:16]
