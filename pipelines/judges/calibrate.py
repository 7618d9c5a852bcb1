"""Calibrating a judge: human-labelled answers through a judge pool, held against their labels, written down."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.contract.records import LABELS, PolicyRef
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import read_folder
from pipelines.config.recipe import Recipe
from pipelines.judges.bound import bind, weights_sum
from pipelines.judges.calibration import JudgedAnswers, calibrate
from pipelines.judges.calibration_report import CalibrationReport, JudgeIdentity
from pipelines.judges.human_labels import XSTEST, HumanJudgment, HumanLabels, rollout_table
from pipelines.judges.pool import JudgeShards, judgment_tasks
from pipelines.judges.refusal_rules import is_tuning_prompt
from pipelines.judges.shown.picture import draw_calibration
from pipelines.judges.spliced import MOST, score_spliced, spliced_answers

REPORT, PICTURE = "calibration.json", "calibration.png"


def calibrate_judge(
    recipe: Recipe, labels: HumanLabels, out: Path, weights: PolicyRef | None, judge_shards: JudgeShards
) -> CalibrationReport:
    """Have the answers judged, and write `calibration.json` and `calibration.png` to `out`.

    Args:
        recipe: whose judge it is, and what it must reach.
        labels: by humans.
        out: also receives `rollouts/`, `judgments/` and `spliced/`; those of an earlier calibration are replaced.
        weights: of the judge; None for rules.
        judge_shards: the judge pool.

    Raises:
        SalusError: no labelled answer is left, the judgments are not those of the answers, or the weights are gone.
    """
    fair = _not_tuned_on(recipe, labels)
    load = weights if recipe.judge.row.champion_judges else None
    report = measure_judge(recipe, fair, out, MeasuredJudge(weights, load), judge_shards)
    report = report.model_copy(update={"left_out": len(labels.answers) - len(fair.answers)})
    report.write(out / REPORT)
    draw_calibration(report, out / PICTURE)
    return report


@dataclass(frozen=True)
class MeasuredJudge:
    """Whose judgments are measured."""

    # The judge's weights; None for rules.
    weights: PolicyRef | None
    # The weights the pool takes up first; None leaves those it has.
    load: PolicyRef | None
    # SHA-256 of its files as a run will find them; None: as they are.
    sha256: str | None = None


def measure_judge(
    recipe: Recipe, labels: HumanLabels, out: Path, judge: MeasuredJudge, judge_shards: JudgeShards
) -> CalibrationReport:
    """Have every labelled answer judged, and hold the judgments against the labels; writes no report.

    Spliced answers, which are made of the labelled ones, are judged too and reported apart.

    Args:
        recipe: whose judge it is, and what it must reach.
        labels: by humans.
        out: receives `rollouts/`, `judgments/` and `spliced/`; earlier ones are replaced.
        judge: whose judgments.
        judge_shards: the judge pool.

    Raises:
        SalusError: the judgments are not those of the answers, or the judge's weights are gone.
    """
    answers, seed = labels.answers, derive_seed(recipe.seed, "calibrate")
    sha256 = judge.sha256
    if sha256 is None and judge.weights is not None:
        sha256 = weights_sum(Path(judge.weights.path))
    bound = bind(recipe.judge, sha256, labels.file)
    judged = _judged(recipe, answers, out, judge.load, judge_shards)
    spliced = spliced_answers(answers, MOST, seed)
    said: list[str | None] = []
    if spliced:
        asked = tuple(chain.from_iterable(spliced.values()))
        said = _judged(recipe, asked, out / "spliced", judge.load, judge_shards)["label"].to_pylist()
    report = calibrate(
        JudgedAnswers(
            prompt_ids=[answer.prompt_id for answer in answers],
            human=[answer.label for answer in answers],
            predicted=judged["label"].to_pylist(),
            probabilities=np.column_stack([judged[f"p_{label.lower()}"].to_numpy() for label in LABELS]).astype(float),
            levels=[answer.level for answer in answers],
        ),
        JudgeIdentity(
            name=judged["judge"][0].as_py(),
            regimen=recipe.judge.regimen,
            prompt=judged["judge_prompt"][0].as_py(),
            model=judge.weights.path if judge.weights is not None else None,
        ),
        labels.source,
        recipe.judge.trust,
        seed,
    )
    return report.model_copy(update={"bound": bound, "spliced": score_spliced(spliced, said, seed)})


def _judged(
    recipe: Recipe, answers: tuple[HumanJudgment, ...], out: Path, load: PolicyRef | None, judge_shards: JudgeShards
) -> pa.Table:
    """The judgments of some answers, in their order."""
    table = rollout_table(answers)
    judge_shards(judgment_tasks(recipe, table, out, load))
    judged = read_folder(out / "judgments")
    if not judged["rollout_id"].equals(table["rollout_id"]):
        raise SalusError(f"The judgments in {out / 'judgments'} are not those of the labelled answers; run it again.")
    return judged


def _not_tuned_on(recipe: Recipe, labels: HumanLabels) -> HumanLabels:
    """The refusal rules were tuned on half of XSTest's prompts: those would flatter them."""
    if recipe.judge.row.rule is None or labels.source != XSTEST:
        return labels
    answers = tuple(answer for answer in labels.answers if not is_tuning_prompt(answer.prompt_id))
    if not answers:
        raise SalusError("The refusal rules were tuned on every labelled prompt given: give others, or all of XSTest.")
    return labels.model_copy(update={"answers": answers})
