"""Calibration of a judge against human labels: temperature scaling on one half of the prompts, figures on the other.

One temperature T for all labels, `p_i ** (1 / T)` normalised, is chosen by the likelihood of the human labels. (Guo et
al., On Calibration of Modern Neural Networks, ICML 2017, sec. 4.2.) It never changes which label is likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from actors.contract.records import LABELS, Label
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.config.judge import TrustThresholds
from pipelines.judges.by_level import by_level, harmful_answers
from pipelines.judges.calibration_report import CalibrationReport, JudgeIdentity
from pipelines.judges.reliability import FLOOR, score_probabilities
from pipelines.judges.trust import decide_trust
from pipelines.measures.agreement import agreement
from pipelines.measures.bootstrap import Floats

Ints = NDArray[np.int64]
# Beyond these the probabilities are 0 and 1, or all alike, whatever the data.
COLDEST, HOTTEST = 0.05, 100.0
# Rows sum to 1 but for float32's rounding.
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class JudgedAnswers:
    """Answers with a human label and the judge's verdict, one entry an answer.

    `predicted` is None where the judge gave no usable label; its probabilities there are not looked at.
    `probabilities` has shape (answers, labels in the order of `LABELS`). `levels` are the harm levels of the requests,
    None where one is not known, or none is.
    """

    prompt_ids: Sequence[str]
    human: Sequence[Label]
    predicted: Sequence[str | None]
    probabilities: Floats
    levels: Sequence[int | None] | None = None


def calibrate(
    answers: JudgedAnswers,
    judge: JudgeIdentity,
    labels_source: str,
    thresholds: TrustThresholds,
    seed: int,
    left_out: int = 0,
) -> CalibrationReport:
    """Hold a judge against human labels.

    Accuracy, kappa, recall and the figures by level are over all answers, as nothing of the labels is fitted. NLL,
    Brier and calibration error are over the prompts the temperature was not fitted on, before and after it.

    Raises:
        SalusError: no answers, columns of different lengths, an unknown label, or rows that are no probabilities.
    """
    _check(answers)
    quality = agreement(
        answers.human,
        answers.predicted,
        answers.probabilities,
        seed=derive_seed(seed, "agreement"),
        groups=answers.prompt_ids,
    )
    labelled = np.array([label is not None for label in answers.predicted])
    half = fit_part(answers.prompt_ids, seed)
    fit, rest = half & labelled, ~half & labelled
    truth = np.array([LABELS.index(label) for label in answers.human], dtype=np.int64)
    p = answers.probabilities
    temperature = fit_temperature(p[fit], truth[fit]) if fit.any() and rest.any() else None
    before = after = None
    if temperature is not None:
        ids = [name for name, keep in zip(answers.prompt_ids, rest, strict=True) if keep]
        draw = derive_seed(seed, "probabilities")
        before = score_probabilities(p[rest], truth[rest], ids, draw)
        after = score_probabilities(tempered(p[rest], temperature), truth[rest], ids, draw)
    levels = answers.levels if answers.levels is not None else [None] * len(truth)
    labels = (answers.human, answers.predicted, answers.prompt_ids, levels)
    harmful = harmful_answers(*labels, derive_seed(seed, "harmful"))
    ece = after.ece if after is not None else None
    return CalibrationReport(
        judge=judge,
        labels_source=labels_source,
        n=len(truth),
        prompts=len(set(answers.prompt_ids)),
        left_out=left_out,
        seed=seed,
        agreement=quality,
        n_fit=int(fit.sum()),
        temperature=temperature,
        before=before,
        after=after,
        thresholds=thresholds,
        trust=decide_trust(judge.name, quality, harmful, ece, thresholds),
        harmful=harmful,
        levels=tuple(by_level(*labels, derive_seed(seed, "levels"))),
    )


def fit_part(prompt_ids: Sequence[str], seed: int) -> NDArray[np.bool_]:
    """Half of the prompts, by hash of seed and id, so that answers to one prompt stay together; shape (answers,)."""
    ordered = sorted(set(prompt_ids), key=lambda name: (derive_seed(seed, "calibration", name), name))
    chosen = set(ordered[: len(ordered) // 2])
    return np.array([name in chosen for name in prompt_ids], dtype=bool)


def fit_temperature(probabilities: Floats, truth: Ints) -> float:
    """The temperature under which the true labels are likeliest, within [0.05, 100].

    The NLL is convex in 1 / T, so it has one minimum in log T, which Brent's method finds.

    Args:
        probabilities: shape (answers, labels), at least one answer.
        truth: index of the true label, shape (answers,).
    """
    log_p = _log(probabilities)

    def nll(log_t: float) -> float:
        scaled = log_p / math.exp(log_t)
        likelihood = scaled[np.arange(len(truth)), truth] - special.logsumexp(scaled, axis=1)
        return -float(likelihood.mean())

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    found = optimize.minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x))


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities at another temperature: p ** (1 / T), normalised; same shape. Zeros count as 1e-12."""
    scaled: Floats = special.softmax(_log(probabilities) / temperature, axis=1)
    return scaled


def _log(probabilities: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(probabilities, FLOOR))
    return logs


def _check(answers: JudgedAnswers) -> None:
    n = len(answers.human)
    if n == 0:
        raise SalusError("There are no human-labelled answers to calibrate on: give a file with some.")
    shape = answers.probabilities.shape
    levels = len(answers.levels) if answers.levels is not None else n
    if {len(answers.prompt_ids), len(answers.predicted), levels} != {n} or shape != (n, len(LABELS)):
        raise SalusError(
            f"{n} human labels do not fit {len(answers.prompt_ids)} prompt ids, {len(answers.predicted)} verdicts,"
            f" {levels} levels and probabilities of shape {shape}: give one of each per answer."
        )
    used = answers.probabilities[[label is not None for label in answers.predicted]]
    # Written so that NaN fails too.
    proper = (used >= 0.0).all(axis=1) & (np.abs(used.sum(axis=1) - 1.0) <= SUM_TOLERANCE)
    if not proper.all():
        raise SalusError(
            f"{int((~proper).sum())} of {len(used)} rows of label probabilities are negative or do not sum to 1:"
            " judge the answers again."
        )
