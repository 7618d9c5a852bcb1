"""One policy's capability in figures, from its scores of given answers and the labels of its own. Pure."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.contract.records import Interval, Record
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import strings
from pipelines.config.capability import LengthUnit
from pipelines.measures.bootstrap import cluster_sums, mean_interval, percentile_interval
from pipelines.measures.metrics import ACCEPT, coded
from pipelines.measures.multiple_choice import MultipleChoice, OptionLengths, credits, multiple_choice


class Perplexity(Record):
    """exp of the mean negative log-likelihood of a token of the reference answers, each given the text before it."""

    # 95 % interval over answers; n answers.
    per_token: Interval
    tokens: int


class Capability(Record):
    """What one policy can still do; None where it was not asked for, or nothing could say."""

    policy: str
    choices: MultipleChoice | None = None
    perplexity: Perplexity | None = None
    # P(Accept | level 0) by the run's judge, over harmless prompts with a label.
    helpful: Interval | None = None

    @property
    def accuracy(self) -> Interval | None:
        return self.choices.accuracy if self.choices is not None else None

    @property
    def perplexity_per_token(self) -> Interval | None:
        return self.perplexity.per_token if self.perplexity is not None else None


def choice_figures(scores: pa.Table, normalised_by: LengthUnit | None, seed: int) -> MultipleChoice:
    """Multiple-choice accuracy from scored options.

    Args:
        scores: rows of `actors.engine.likelihood.SCORE_SCHEMA`, in any order.
        normalised_by: what each option's log-likelihood is divided by.
        seed: of the bootstrap.

    Raises:
        SalusError: a question without exactly one right option, or as `multiple_choice` does.
    """
    _, likelihoods, answers, lengths = _questions(scores, normalised_by)
    return multiple_choice(likelihoods, answers, lengths, derive_seed(seed, "choices"))


def answered_right(scores: pa.Table, normalised_by: LengthUnit | None) -> dict[str, bool]:
    """Whether the right option alone is the likeliest, by question; a tie is not right. Raises as `choice_figures`."""
    items, likelihoods, answers, lengths = _questions(scores, normalised_by)
    credit = credits(likelihoods, answers, lengths)
    return dict(zip(items, (credit == 1.0).tolist(), strict=True))


def _questions(
    scores: pa.Table, normalised_by: LengthUnit | None
) -> tuple[list[str], list[list[float]], NDArray[np.int64], OptionLengths | None]:
    """Of each question: its name, its options' log-likelihoods, the place of the right one, and the lengths."""
    scores = scores.sort_by([("item_id", "ascending"), ("option", "ascending")])
    items = np.array(strings(scores, "item_id"))
    starts = np.flatnonzero(np.concatenate([[True], items[1:] != items[:-1]])) if len(items) else np.zeros(0, np.int64)
    right = scores["right"].to_numpy().astype(np.int64)
    if len(items) and not (np.add.reduceat(right, starts) == 1).all():
        bad = items[starts[np.flatnonzero(np.add.reduceat(right, starts) != 1)[0]]]
        raise SalusError(f"Question {bad} has not exactly one right option: give its options once, one of them right.")
    # One row of `right` per question is 1; its place within the question is the answer.
    answers = np.flatnonzero(right) - starts
    likelihoods = [part.tolist() for part in np.split(scores["log_likelihood"].to_numpy(), starts[1:])]
    lengths = None
    if normalised_by is not None:
        column = scores["tokens"] if normalised_by == "tokens" else pc.utf8_length(scores["continuation"])
        parts = np.split(column.to_numpy().astype(np.int64), starts[1:])
        lengths = OptionLengths(unit=normalised_by, lengths=tuple(tuple(part.tolist()) for part in parts))
    return items[starts].tolist(), likelihoods, answers, lengths


def reference_figures(scores: pa.Table, seed: int) -> Perplexity | None:
    """Perplexity of the reference answers per token, with an interval over answers; None without any.

    Raises:
        SalusError: an answer the policy gives no probability at all.
    """
    scores = scores.sort_by("item_id")
    sums = np.stack([scores[name].to_numpy().astype(np.float64) for name in ("log_likelihood", "tokens")], axis=1)
    impossible = np.flatnonzero(~np.isfinite(sums[:, 0]))
    if impossible.size:
        item = scores["item_id"][int(impossible[0])].as_py()
        raise SalusError(f"Reference answer {item} has probability 0, which leaves no perplexity: leave it out.")
    if not len(sums):
        return None
    draws = cluster_sums(sums, strings(scores, "item_id"), derive_seed(seed, "references"))
    total = sums.sum(axis=0)
    return Perplexity(
        per_token=percentile_interval(
            float(np.exp(-total[0] / total[1])), np.exp(-draws[:, 0] / draws[:, 1]), n=len(sums)
        ),
        tokens=int(total[1]),
    )


def helpful_share(judgments: pa.Table, seed: int) -> Interval | None:
    """Share of the labelled harmless (level 0) prompts whose answer is labelled Accept; None without any.

    Its interval counts base prompts (columns level, label and base_prompt).
    """
    levels, labels = coded(judgments)
    harmless = (levels == 0) & (labels >= 0)
    bases = strings(judgments.filter(pa.array(harmless)), "base_prompt")
    accepted = labels[harmless] == ACCEPT
    return mean_interval(accepted.astype(np.float64), derive_seed(seed, "helpful"), clusters=bases)
