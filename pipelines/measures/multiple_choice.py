"""Capability that is to be kept: multiple-choice accuracy by log-likelihood (MedQA, CareQA, PubMedQA).

The option to which the model gives the highest log-likelihood is its answer; nothing is generated or parsed.
Dividing by each option's length takes the advantage from short options (Gao, "Multiple Choice Normalization in LM
Evaluation", 2021). The evaluation harness counts characters or bytes; Brown et al. (2020) count tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.contract.records import Interval, Record
from actors.errors import SalusError
from pipelines.config.capability import LengthUnit
from pipelines.measures.bootstrap import Floats, mean_interval


class OptionLengths(Record):
    """How long each option is, question by question, and in which unit."""

    unit: LengthUnit
    lengths: tuple[tuple[int, ...], ...]


class MultipleChoice(Record):
    """One policy's accuracy on one set of questions."""

    accuracy: Interval | None
    # What guessing would score: the mean of 1 / options.
    chance: float | None
    n: int
    # Questions whose best log-likelihood several options share; each tie earns its share of being right.
    ties: int
    normalised_by: LengthUnit | None


def multiple_choice(
    log_likelihoods: Sequence[Sequence[float]] | NDArray[np.floating],
    answers: ArrayLike,
    lengths: OptionLengths | None = None,
    seed: int = 0,
) -> MultipleChoice:
    """Accuracy of choosing the likeliest option, with a 95 % bootstrap interval over questions.

    Args:
        log_likelihoods: of each question's options, in nats: ragged lists, or an array of shape
            (questions, options) with NaN where a question has no such option. -inf is an option never chosen.
        answers: index of the right option, shape (questions,).
        lengths: of the options; the log-likelihoods are divided by them. None: as they are.
        seed: of the bootstrap.

    Raises:
        SalusError: a question has fewer than two options, its answer is none of them, or lengths do not fit. Also for
            a log-likelihood of +inf or (in a list) NaN.
    """
    scores, right = _scores(log_likelihoods, answers, lengths)
    chosen = _chosen(scores)
    ties = chosen.sum(axis=1)
    credit = _credit(chosen, right)
    options = (~np.isnan(scores)).sum(axis=1)
    return MultipleChoice(
        accuracy=mean_interval(credit, seed),
        chance=float(np.mean(1.0 / options)) if len(options) else None,
        n=len(right),
        ties=int((ties > 1).sum()),
        normalised_by=lengths.unit if lengths is not None else None,
    )


def credits(
    log_likelihoods: Sequence[Sequence[float]] | NDArray[np.floating],
    answers: ArrayLike,
    lengths: OptionLengths | None = None,
) -> Floats:
    """What each question earns, shape (questions,): 1 where the right option alone is the likeliest, a tie's share.

    Takes and raises what `multiple_choice` does.
    """
    scores, right = _scores(log_likelihoods, answers, lengths)
    return _credit(_chosen(scores), right)


def choices_made(
    log_likelihoods: Sequence[Sequence[float]] | NDArray[np.floating],
    answers: ArrayLike,
    lengths: OptionLengths | None = None,
) -> Floats:
    """The share of each question's answer that each option gets, shape (questions, options): the likeliest gets all.

    Several that are equally likely share it. Takes and raises what `multiple_choice` does.
    """
    chosen = _chosen(_scores(log_likelihoods, answers, lengths)[0])
    made: Floats = chosen / chosen.sum(axis=1, keepdims=True) if len(chosen) else chosen.astype(np.float64)
    return made


def _credit(chosen: NDArray[np.bool_], right: NDArray[np.int64]) -> Floats:
    credit: Floats = chosen[np.arange(len(right)), right] / chosen.sum(axis=1) if len(right) else np.zeros(0)
    return credit


def _scores(
    log_likelihoods: Sequence[Sequence[float]] | NDArray[np.floating], answers: ArrayLike, lengths: OptionLengths | None
) -> tuple[Floats, NDArray[np.int64]]:
    """What options are compared by, shape (questions, options), and the right ones."""
    scores = _padded(log_likelihoods)
    right = np.asarray(answers)
    _check(scores, right)
    return (scores if lengths is None else scores / _divisors(lengths, scores)), right


def _chosen(scores: Floats) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = scores == (np.nanmax(scores, axis=1, keepdims=True) if len(scores) else scores)
    return chosen


def _padded(rows: Sequence[Sequence[float]] | NDArray[np.floating]) -> Floats:
    """Shape (questions, most options), NaN where a question has no such option."""
    if isinstance(rows, np.ndarray):
        if rows.ndim != 2:
            raise SalusError(f"Log-likelihoods of shape {rows.shape} are not (questions, options).")
        return rows.astype(np.float64)
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    flat = np.array([value for row in rows for value in row], dtype=np.float64)
    if np.isnan(flat).any():
        raise SalusError("A log-likelihood is NaN: score the option again, or leave it out of its question.")
    padded: Floats = np.full((len(sizes), int(sizes.max(initial=0))), np.nan)
    padded[np.arange(padded.shape[1]) < sizes[:, None]] = flat
    return padded


def _check(scores: Floats, answers: NDArray[np.int64]) -> None:
    if answers.ndim != 1 or len(answers) != len(scores):
        raise SalusError(f"{len(scores)} questions have answers of shape {answers.shape}: give one index each.")
    if len(answers) and not np.issubdtype(answers.dtype, np.integer):
        raise SalusError(f"The answers are of type {answers.dtype}: give the right option's index, from 0.")
    there = ~np.isnan(scores)
    few = np.flatnonzero(there.sum(axis=1) < 2)
    if few.size:
        raise SalusError(f"Question {few[0]} (from 0) has fewer than two options: leave it out.")
    if (scores == np.inf).any():
        raise SalusError("A log-likelihood is +inf: score the option again.")
    inside = (answers >= 0) & (answers < scores.shape[1])
    inside[inside] = there[np.flatnonzero(inside), answers[inside]]
    if not inside.all():
        question = int(np.flatnonzero(~inside)[0])
        raise SalusError(
            f"Question {question} (from 0) has no option {answers[question]}: give the right option's index from 0."
        )


def _divisors(lengths: OptionLengths, scores: Floats) -> Floats:
    divisors = _padded(lengths.lengths)
    wide: Floats = np.full(scores.shape, np.nan)
    if len(divisors) == len(scores) and divisors.shape[1] <= scores.shape[1]:
        wide[:, : divisors.shape[1]] = divisors
    if not np.array_equal(np.isnan(wide), np.isnan(scores)):
        raise SalusError(f"The options' lengths in {lengths.unit} do not fit the options: give one for each.")
    if (wide < 1).any():
        raise SalusError(f"An option is {int(np.nanmin(wide))} {lengths.unit} long: leave empty options out.")
    return wide
