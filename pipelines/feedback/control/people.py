"""People as the reference: the cycle waits for their labels, up to a deadline, and nothing that it made is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.contract.records import Label
from actors.errors import SalusError
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.feedback.review.consensus import settle
from pipelines.feedback.review.stored import open_labels

POLL_S = 2.0
PEOPLE = "people"


class LabelsMissing(SalusError):
    """People have labelled too few answers by the deadline."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, and what is done meanwhile."""

    minutes: float
    # Raises where this process may not go on; asked at every look.
    check: Callable[[], None] = lambda: None
    poll_s: float = POLL_S
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def labels_folder(recipe: Recipe) -> Path:
    """Where reviewers' labels are kept: as told, or where the endpoint's pages keep them."""
    told, registry = recipe.decide.control.labels, recipe.publish.registry
    if told is not None:
        return Path(told).expanduser()
    # The recipe refuses people without either.
    assert registry is not None
    return registry / "labels"


def wait_for_people(
    wanted: Sequence[str], folder: Path, patience: Patience, name: str, where: str, reporter: Reporter
) -> Mapping[str, Label]:
    """What reviewers agree on by the time that all is labelled, or the deadline has passed.

    Args:
        wanted: keys of the answers, each once.
        folder: of the labels.
        patience: how long to wait.
        name: of the step, for its bar.
        where: reviewers label; said once, where there is something to wait for.
        reporter: is told of progress.

    Returns:
        The label of each answer that has one; a tie is none.

    Raises:
        SalusError: the labels cannot be read.
    """
    log, until, told = open_labels(folder), patience.now() + 60.0 * patience.minutes, False
    bar = reporter.bar(f"{name}: labels by people", len(wanted), "answers")
    try:
        while True:
            agreed = settle(log.standing()).labels()
            known = {key: agreed[key] for key in wanted if key in agreed}
            bar.at(len(known), len(wanted))
            left_s = until - patience.now()
            if len(known) == len(wanted) or left_s <= 0.0:
                return known
            if not told:
                reporter.say(f"{name}: {len(wanted) - len(known)} control answers wait for people's labels {where}")
                told = True
            patience.check()
            patience.sleep(min(patience.poll_s, left_s))
    finally:
        bar.close()
