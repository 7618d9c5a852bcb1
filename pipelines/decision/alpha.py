"""How a run spends its alpha: the chance that any of its cycles replaces the champion without a gain.

Each cycle is tested at a share of what is left, and the shares sum to at most 1 - confidence. By the union bound,
chance then replaces the champion in at most that share of *runs* (alpha spending: Lan and DeMets, Biometrika 70, 1983;
for tests that come one after the other: Foster and Stine, JRSS B 70, 2008).

By default cycle k takes one part in k + 1 of what is left. Of an alpha of .05 that is .025, .0083, .0042, .0025, .0017
and so on; k cycles spend alpha * k / (k + 1). A share depends on earlier decisions alone. So a run that is taken up
again, or gets more cycles, keeps its promise and decides as it would have decided in one go.
A cycle in which no challenger was compared spends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.config.decision import DecisionConfig

# Rounding must not leave a share of nothing.
_NOTHING = 1e-12


class Spent(Protocol):
    """What an earlier decision tells."""

    @property
    def alpha_spent(self) -> float | None: ...

    @property
    def config(self) -> DecisionConfig: ...


@dataclass(frozen=True)
class Alpha:
    """What one cycle may spend."""

    # The chance that this cycle errs.
    cycle: float
    # What earlier cycles spent.
    before: float
    # Of the whole run.
    run: float

    def after(self, compared: bool) -> float:
        """What the run has spent after the cycle; nothing was spent where no challenger was compared."""
        return self.before + (self.cycle if compared else 0.0)


def one_cycle(config: DecisionConfig) -> Alpha:
    """Of a decision that is no part of a run."""
    return Alpha(cycle=1.0 - config.confidence, before=0.0, run=1.0 - config.confidence)


def share_of_alpha(config: DecisionConfig, before: Sequence[Spent], cycles: int) -> Alpha:
    """What the cycle after these decisions may spend.

    Args:
        config: the rule's settings.
        before: the decisions of all earlier cycles, in their order. One of an earlier version spent 1 - confidence.
        cycles: how many the recipe asks for; only spending "equal" looks at it.
    """
    run, spent = 1.0 - config.confidence, 0.0
    for decision in before:
        known = decision.alpha_spent
        spent = known if known is not None else spent + 1.0 - decision.config.confidence
    spent = min(spent, run)
    left = run - spent if run - spent > _NOTHING else 0.0
    done = len(before)
    parts = max(1, cycles - done) if config.spending == "equal" else done + 2
    return Alpha(cycle=left / parts, before=spent, run=run)
