"""CPO: a pair's answers apart, and the better one likely, without a reference (arXiv 2401.08417)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.row import AlgorithmRow, Mark, TrlClasses, experimental
from actors.training.algorithms.settings import ALGORITHM_MEANS, ChallengerConfig, Positive
from actors.training.rows import RowCount


class CpoConfig(ChallengerConfig):
    """CPO on pairs (arXiv 2401.08417)."""

    algorithm: Literal["cpo"] = Field(default="cpo", description=ALGORITHM_MEANS)
    beta: Positive = Field(default=0.1, description="scale of the difference of the answers' log-likelihoods")
    likelihood_weight: float = Field(
        default=1.0, ge=0, description="weight of the better answer's likelihood in the loss; the paper has 1"
    )


def cpo_classes() -> TrlClasses:
    """TRL's CPO, of which SimPO and SLiC are losses."""
    with experimental():
        from trl.experimental.cpo import CPOConfig, CPOTrainer

    return TrlClasses(CPOTrainer, CPOConfig)


def cpo_options(loss: str, beta: float, likelihood_weight: float) -> dict[str, Any]:
    """TRL's options for a loss of its CPO trainer."""
    # The trainer's collator needs columns that the filter of unused ones would drop.
    return {"loss_type": loss, "beta": beta, "cpo_alpha": likelihood_weight, "remove_unused_columns": False}


def _options(settings: CpoConfig, count: RowCount) -> dict[str, Any]:
    return cpo_options("sigmoid", settings.beta, settings.likelihood_weight)


CPO = AlgorithmRow(
    CpoConfig,
    rows="pairs",
    trl=cpo_classes,
    options=_options,
    mark=Mark("pentagon", "purple"),
    reference=False,
    full_logits=True,
)
