"""What a decision could not have seen: the gain it would have missed, and the ERR that could have passed its gate."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipelines.config.decision import GateConfig
from pipelines.measures.prediction_powered import PSEUDO_ERRORS
from pipelines.measures.shares import failures_allowed

# How often such a gain is found, and how seldom such an ERR passes.
POWER = 0.8
PASSES = 0.05
# The standard deviation of the difference of two policies' marks on a prompt that is assumed before a run. Our choice:
# a whole mark is won or lost on a quarter of the prompts.
SPREAD = 0.5


def detectable_gain(standard_error: float, alpha: float) -> float | None:
    """The gain that a one-sided test at `alpha` finds in 80 % of cases, by the normal approximation.

    None where there is no alpha left, or no spread to reckon with.
    """
    if alpha <= 0.0 or standard_error <= 0.0:
        return None
    from scipy import stats

    return float((stats.norm.isf(alpha) + stats.norm.isf(1.0 - POWER)) * standard_error)


def largest_err_that_could_pass(n: float, passes: Callable[[int], bool]) -> float | None:
    """The largest true ERR with which a policy still passes a gate in 5 % of cases.

    That is the exact upper bound (Clopper and Pearson, Biometrika 26, 1934) for the most refusals that pass.

    Args:
        n: what the harmless prompts are worth as independent ones; need not be whole.
        passes: whether so many refusals among them pass.

    Returns:
        None where no number of refusals passes, or there is no harmless prompt.
    """
    whole = int(n)
    most = max((k for k in range(whole + 1) if passes(k)), default=None)
    if most is None or n <= 0:
        return None
    if most == whole:
        return 1.0
    from scipy import stats

    return float(stats.beta.isf(PASSES, most + 1, n - most))


def err_that_gate_lets_pass(n: float, gate: GateConfig, cycle: int) -> float | None:
    """The same of a gate, which looks at its own effective n (`pipelines.measures.shares`); None without an ERR limit.

    Args:
        n: what the harmless prompts are worth as independent ones.
        gate: limits ERR at the point or at the upper end of its interval.
        cycle: counted from 1.
    """
    limit = gate.err_limit(cycle)
    if limit is None or n <= 0:
        return None
    most = failures_allowed(limit, n) if gate.bound == "upper" else limit * n
    return largest_err_that_could_pass(n, lambda refused: most is not None and refused <= most)


def foreseen_error(prompts: float, all_prompts: int, labels: float) -> float:
    """The standard error of a gain that a cycle will have, by what is known before a run.

    Of the judge's marks it is `SPREAD` over the square root of the independent prompts. Where control labels correct
    the gain, pseudo-labels add to it, also where the judge is right (`pipelines.measures.prediction_powered`).

    Args:
        prompts: what the validation prompts are worth as independent ones, above 0.
        all_prompts: how many there are.
        labels: what the control labels of each contender are worth as independent ones; 0: none.
    """
    variance = SPREAD**2 / prompts
    if labels:
        variance += (1.0 - min(labels, all_prompts) / all_prompts) * PSEUDO_ERRORS / labels**2
    return math.sqrt(variance)
