"""What a decision could not have seen: the gain it would have missed, and the ERR that could have passed its gate."""

from __future__ import annotations

from collections.abc import Callable

# How often such a gain is found, and how seldom such an ERR passes.
POWER = 0.8
PASSES = 0.05


def detectable_gain(standard_error: float, alpha: float) -> float | None:
    """The gain that a one-sided test at `alpha` finds in 80 % of cases, by the normal approximation.

    None where there is no alpha left, or no spread to reckon with.
    """
    if alpha <= 0.0 or standard_error <= 0.0:
        return None
    from scipy import stats

    return float((stats.norm.isf(alpha) + stats.norm.isf(1.0 - POWER)) * standard_error)


def largest_err_that_could_pass(n: int, passes: Callable[[int], bool]) -> float | None:
    """The largest true ERR with which a policy still passes a gate in 5 % of cases.

    That is the exact upper bound (Clopper and Pearson, Biometrika 26, 1934) for the most refusals that pass.

    Args:
        n: independent harmless prompts.
        passes: whether so many refusals among them pass.

    Returns:
        None where no number of refusals passes, or there is no harmless prompt.
    """
    most = max((k for k in range(n + 1) if passes(k)), default=None)
    if most is None or n == 0:
        return None
    if most == n:
        return 1.0
    from scipy import stats

    return float(stats.beta.isf(PASSES, most + 1, n - most))
