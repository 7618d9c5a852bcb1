"""Judges for the tests of calibration: probabilities whose truth is drawn from a known distribution."""

from __future__ import annotations

import numpy as np

from actors.contract.records import LABELS, Record
from pipelines.config.judge import TrustThresholds
from pipelines.config.recipe import Recipe
from pipelines.judges.bound import bind
from pipelines.judges.calibration import JudgedAnswers, calibrate
from pipelines.judges.calibration_report import CalibrationReport, JudgeIdentity
from pipelines.judges.human_labels import LabelsFile
from pipelines.measures.bootstrap import Floats

WEIGHTS = "ab" * 32
EXT = JudgeIdentity(name="ext-judge", regimen="EXT", prompt="cares-v1", model="/models/judge")


class Sharpness(Record):
    """How a drawn judge is: `signal` says how often it is right, `overconfidence` 1 is calibrated."""

    signal: float = 2.5
    overconfidence: float = 1.0
    missing: float = 0.0


def drawn(answers: int, how: Sharpness, seed: int = 0, per_prompt: int = 3) -> JudgedAnswers:
    """Answers whose human label is drawn from the honest probabilities; the judge states sharpened ones."""
    rng = np.random.default_rng(seed)
    logits = how.signal * rng.normal(size=(answers, len(LABELS)))
    honest = softmax(logits)
    human = [LABELS[rng.choice(len(LABELS), p=p)] for p in honest]
    stated = softmax(logits * how.overconfidence)
    labels = [LABELS[i] for i in stated.argmax(axis=1)]
    missing = rng.random(answers) < how.missing
    return JudgedAnswers(
        prompt_ids=[f"p{i // per_prompt}" for i in range(answers)],
        human=human,
        predicted=[None if gone else label for label, gone in zip(labels, missing, strict=True)],
        probabilities=stated,
    )


def softmax(logits: Floats) -> Floats:
    shifted: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def report_of(
    answers: JudgedAnswers, judge: JudgeIdentity = EXT, thresholds: TrustThresholds | None = None
) -> CalibrationReport:
    return calibrate(answers, judge, "team.csv", thresholds or TrustThresholds(), seed=0)


def bound_to(
    recipe: Recipe, report: CalibrationReport, weights: str | None = WEIGHTS, labels: LabelsFile | None = None
) -> CalibrationReport:
    """The report as a calibration of the recipe's judge would have it."""
    return report.model_copy(update={"bound": bind(recipe.judge, weights, labels)})
