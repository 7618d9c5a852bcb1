"""What the rest of Salus asks of a training algorithm: one row of `actors.training.algorithms.table`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from actors.contract.records import RowKind
from actors.training.algorithms.settings import ChallengerConfig
from actors.training.rows import RowCount

Shape = Literal["square", "circle", "triangle", "turned_triangle", "pentagon", "hexagon"]
# Okabe and Ito's: told apart by colour-blind readers.
Hue = Literal["blue", "vermilion", "green", "purple", "amber", "sky"]
SettingsT = TypeVar("SettingsT", bound=ChallengerConfig)


@dataclass(frozen=True)
class Mark:
    """How challengers are drawn, in pictures and on pages."""

    shape: Shape
    hue: Hue


class TrlClasses(NamedTuple):
    """TRL's trainer and its arguments."""

    trainer: Any
    arguments: Any


@contextmanager
def experimental() -> Iterator[None]:
    """Import from `trl.experimental` without its warning: the lock file pins TRL's version."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You are importing from 'trl.experimental'")
        yield


@dataclass(frozen=True)
class AlgorithmRow(Generic[SettingsT]):
    """One algorithm, and all that the rest of Salus asks of it."""

    settings: type[SettingsT]
    # What the shuffle makes for it.
    rows: RowKind
    # Imported when asked for: TRL takes seconds, and a recipe is read without it.
    trl: Callable[[], TrlClasses]
    # TRL's options beside those that all algorithms share.
    options: Callable[[SettingsT, RowCount], dict[str, Any]]
    mark: Mark
    # Whether its loss compares with a reference model.
    reference: bool = True
    # Whether TRL's trainer makes the logits of all tokens at once, rather than in tiles.
    full_logits: bool = False
    # Forward passes a row costs beside those of its answers, for the plan's estimate.
    more_passes: Callable[[SettingsT], int] = lambda settings: 0
