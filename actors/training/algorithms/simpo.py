"""SimPO: mean log-likelihoods of a pair's answers, apart by a margin, without a reference (arXiv 2405.14734)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.row import AlgorithmRow, Mark, TrlClasses, experimental
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


def _trl() -> TrlClasses:
    with experimental():
        from trl.experimental.cpo import CPOConfig, CPOTrainer

    return TrlClasses(CPOTrainer, CPOConfig)


def _options(settings: SimpoConfig, count: RowCount) -> dict[str, Any]:
    return {
        "loss_type": "simpo",
        "beta": settings.beta,
        "simpo_gamma": settings.gamma,
        "cpo_alpha": settings.likelihood_weight,
        "remove_unused_columns": False,
    }


SIMPO = AlgorithmRow(
    SimpoConfig,
    rows="pairs",
    trl=_trl,
    options=_options,
    mark=Mark("turned_triangle", "purple"),
    reference=False,
    full_logits=True,
)
