"""Labelled answers for a judge's training: train and held-out rows that share no prompt, rare labels repeated.

Pure. Every place and every choice is a hash of the seed and the content, so that the order of a file is no matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from actors.contract.records import LABELS, Label
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.data.split import SplitFractions, group_key, split_of
from pipelines.judges.human_labels import HumanJudgment

Answers = tuple[HumanJudgment, ...]


class TrainingSplit(NamedTuple):
    """Answers to train on, each once, and answers to measure on; no prompt has answers in both."""

    train: Answers
    held_out: Answers


def split_labels(answers: Answers, source: str, held_out: float, seed: int) -> TrainingSplit:
    """Every answer to one side, by the hash of its prompt and the seed.

    Prompts of the same words, whatever case and white space, or of the same id (a team's rewrites) stay together.

    Args:
        answers: as `read_human_labels` reads them.
        source: what faults call them.
        held_out: share of the prompts that are kept from training.
        seed: of the run.

    Raises:
        SalusError: a label is absent, from all answers or from one side.
    """
    _check_labels(answers, f"{source} has no answer labelled", "a judge cannot learn a label it never sees: add some")
    shares = SplitFractions(train=1.0 - held_out, validation=held_out, test=0.0)
    sides: dict[str, list[HumanJudgment]] = {"train": [], "validation": []}
    for answer, group in zip(answers, _groups(answers), strict=True):
        sides[split_of(group, shares, seed)].append(answer)
    split = TrainingSplit(tuple(sides["train"]), tuple(sides["validation"]))
    cure = "label answers to more prompts, or change judge.train.held_out or the seed"
    _check_labels(split.train, f"The train part of {source} has no answer labelled", cure)
    _check_labels(split.held_out, f"The held-out part of {source} has no answer labelled", cure)
    return split


def training_rows(answers: Answers, balance: Literal["oversample", "none"], max_repeats: int, seed: int) -> Answers:
    """The answers in the order of training; with `oversample` those of rarer labels several times.

    Each label gets as many rows as the most frequent one has, but no row more than `max_repeats` copies. Which rows
    have one copy more than others is drawn with the seed.
    """
    most = max(label_counts(answers).values()) if balance == "oversample" else 0
    rows = chain.from_iterable(
        _copies([a for a in answers if a.label == label], most, max_repeats, seed) for label in LABELS
    )
    return tuple(answer for _, _, answer in sorted(rows, key=lambda row: row[:2]))


def label_counts(answers: Iterable[HumanJudgment]) -> dict[Label, int]:
    """How many answers have each label."""
    found = Counter(answer.label for answer in answers)
    return {label: found[label] for label in LABELS}


def _copies(
    answers: Sequence[HumanJudgment], most: int, max_repeats: int, seed: int
) -> list[tuple[int, str, HumanJudgment]]:
    """Copies of one label's answers, each with its place in the order of training."""
    wanted = max(len(answers), min(most, len(answers) * max_repeats))
    drawn = sorted(answers, key=lambda answer: _place(answer, "oversample", seed))
    chosen = [(drawn[i % len(drawn)], i // len(drawn)) for i in range(wanted)]
    return [(*_place(answer, f"copy {copy}", seed), answer) for answer, copy in chosen]


def _place(answer: HumanJudgment, what: str, seed: int) -> tuple[int, str]:
    """The place of an answer; its texts decide between two whose hashes are the same."""
    text = f"{answer.prompt}\x1f{answer.answer}"
    return derive_seed(seed, what, text), text


def _groups(answers: Answers) -> list[str]:
    """For each answer the name of its group: the first wording, in the alphabet, among prompts that belong together."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    wordings = [f"text {group_key(answer.prompt)}" for answer in answers]
    for wording, answer in zip(wordings, answers, strict=True):
        parent[root(f"id {answer.prompt_id}")] = root(wording)
    first: dict[str, str] = {}
    for wording in wordings:
        first[root(wording)] = min(first.get(root(wording), wording), wording)
    return [first[root(wording)] for wording in wordings]


def _check_labels(answers: Answers, what: str, cure: str) -> None:
    for label, count in label_counts(answers).items():
        if count == 0:
            raise SalusError(f"{what} {label}; {cure}.")
