"""The training curves of a run: each challenger's steps over all cycles, those of a cycle counted on from before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from actors.contract.records import ChallengerName
from actors.contract.run_folder import RunFolder
from actors.training.curve import Curve, read_curve
from pipelines.config.recipe import Recipe


@dataclass(frozen=True)
class RunCurve:
    """One challenger's curve over the cycles that trained it."""

    challenger: ChallengerName
    # How many steps earlier cycles took, and the cycle's own curve.
    parts: tuple[tuple[int, Curve], ...]

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Each logged step, counted over all cycles, with its figures."""
        for before, curve in self.parts:
            for place, step in enumerate(curve.steps):
                yield before + step, curve.at(place)

    def line(self, figure: str, most: int) -> list[tuple[int, float]]:
        """One figure at no more than `most` steps: of neighbours there are means, each at the last of their steps."""
        known = [(step, row[figure]) for step, row in self.steps() if figure in row]
        size = max(1, math.ceil(len(known) / most))
        return [(part[-1][0], math.fsum(value for _, value in part) / len(part)) for part in _batched(known, size)]

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of its figures, as the curves have them."""
        return tuple(dict.fromkeys(name for _, curve in self.parts for name in curve.figures))


def run_curves(folder: RunFolder, recipe: Recipe) -> list[RunCurve]:
    """The curves of all challengers that have logged a step by now.

    Raises:
        SalusError: one cannot be read.
    """
    found = (RunCurve(name, tuple(_parts(folder, recipe.cycles, name))) for name in recipe.train.challengers)
    return [curve for curve in found if curve.parts]


def _parts(folder: RunFolder, cycles: int, name: ChallengerName) -> Iterator[tuple[int, Curve]]:
    before = 0
    for cycle in range(1, cycles + 1):
        curve = _curve(folder.curve(cycle, name))
        if curve is not None and curve.steps:
            yield before, curve
            before += curve.steps[-1]


def _curve(path: Path) -> Curve | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int, size: int) -> Curve | None:
    """A curve, read again only when its file has changed."""
    return read_curve(path)


def _batched(rows: Sequence[tuple[int, float]], size: int) -> Iterator[Sequence[tuple[int, float]]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
