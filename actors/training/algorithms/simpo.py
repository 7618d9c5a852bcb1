"""SimPO: mean log-likelihoods of a pair's answers, apart by a margin, without a reference (arXiv 2405.14734)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.cpo import cpo_classes, cpo_options
from actors.training.algorithms.row import AlgorithmRow, Mark
from actors.training.algorithms.settings import ALGORITHM_MEANS, ChallengerConfig, Positive
from actors.training.rows import RowCount


class SimpoConfig(ChallengerConfig):
    """SimPO on pairs (arXiv 2405.14734), which TRL holds as a loss of CPO."""

    algorithm: Literal["simpo"] = Field(default="simpo", description=ALGORITHM_MEANS)
    beta: Positive = Field(default=2.0, description="scale of the mean log-likelihoods")
    gamma: float = Field(default=1.0, ge=0, description="the margin by which the better answer is to be ahead")
    likelihood_weight: float = Field(
        default=0.0, ge=0, description="weight of the better answer's likelihood in the loss; the paper has none"
    )


def _options(settings: SimpoConfig, count: RowCount) -> dict[str, Any]:
    return {
        **cpo_options("simpo", settings.beta, settings.likelihood_weight),
        "simpo_gamma": settings.gamma,
    }


SIMPO = AlgorithmRow(
    SimpoConfig,
    rows="pairs",
    trl=cpo_classes,
    options=_options,
    mark=Mark("turned_triangle", "purple"),
    reference=False,
    full_logits=True,
)
