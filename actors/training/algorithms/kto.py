"""KTO: learns from single rows that are desirable or not (arXiv 2402.01306)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from actors.training.algorithms.row import AlgorithmRow, Mark, TrlClasses
from actors.training.algorithms.settings import ALGORITHM_MEANS, Positive, ReferenceConfig
from actors.training.rows import RowCount

# The range Ethayarajh et al. (arXiv 2402.01306, Eq. 8) give for w_D * n_D / (w_U * n_U).
KTO_BALANCE = (1.0, 4.0 / 3.0)


class KtoConfig(ReferenceConfig):
    """KTO on single rows (arXiv 2402.01306)."""

    algorithm: Literal["kto"] = Field(default="kto", description=ALGORITHM_MEANS)
    beta: Positive = Field(default=0.1, description="how strongly the policy is held to the reference model")
    loss_type: Literal["kto", "apo_zero_unpaired"] = Field(
        default="kto", description="apo_zero_unpaired needs no KL term, and so a third less computing"
    )
    weights: Literal["auto"] | tuple[Positive, Positive] = Field(
        default="auto",
        description="loss weights of desirable and undesirable rows. auto: from the numbers of both, so that neither"
        " outweighs the other",
    )

    @model_validator(mode="after")
    def _kl_needs_neighbours(self) -> Self:
        if self.loss_type == "kto" and self.batch_size < 2:
            raise ValueError(
                "kto.batch_size must be at least 2: the KL term pairs each prompt with its neighbour's "
                "answer; raise it, or take loss_type apo_zero_unpaired"
            )
        return self


def kto_weights(n_desirable: int, n_undesirable: int) -> tuple[float, float]:
    """Loss weights (w_D, w_U) such that w_D * n_desirable / (w_U * n_undesirable) is in [1, 4/3].

    One of the two stays 1 (arXiv 2402.01306, Eq. 8); the other is raised to meet the middle of that range.
    Where a class is empty there is nothing to balance, and both are 1.
    """
    if not n_desirable or not n_undesirable:
        return 1.0, 1.0
    low, high = KTO_BALANCE
    balance = n_desirable / n_undesirable
    middle = (low + high) / 2
    if balance < low:
        return middle / balance, 1.0
    if balance > high:
        return 1.0, balance / middle
    return 1.0, 1.0


def _trl() -> TrlClasses:
    from trl import KTOConfig, KTOTrainer  # type: ignore[attr-defined]

    return TrlClasses(KTOTrainer, KTOConfig)


def _options(settings: KtoConfig, count: RowCount) -> dict[str, Any]:
    balanced = kto_weights(count.desirable, count.rows - count.desirable)
    desirable, undesirable = balanced if settings.weights == "auto" else settings.weights
    return {
        "beta": settings.beta,
        "loss_type": settings.loss_type,
        "desirable_weight": desirable,
        "undesirable_weight": undesirable,
    }


def _kl_passes(settings: KtoConfig) -> int:
    """The KL term's: policy and reference read a neighbour's answer."""
    return 2 if settings.loss_type == "kto" else 0


KTO = AlgorithmRow(
    KtoConfig, rows="unpaired", trl=_trl, options=_options, mark=Mark("square", "blue"), more_passes=_kl_passes
)
