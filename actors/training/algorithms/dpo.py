"""DPO: learns from pairs of answers which is better (arXiv 2305.18290)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from actors.training.algorithms.row import AlgorithmRow, Mark, TrlClasses
from actors.training.algorithms.settings import ALGORITHM_MEANS, Positive, ReferenceConfig
from actors.training.rows import RowCount

DpoLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard",
    "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
]  # fmt: skip


class DpoConfig(ReferenceConfig):
    """DPO on pairs (arXiv 2305.18290); several losses may be summed by weight."""

    algorithm: Literal["dpo"] = Field(default="dpo", description=ALGORITHM_MEANS)
    beta: Positive = Field(default=0.1, description="how strongly the policy is held to the reference model")
    loss_type: tuple[DpoLoss, ...] = Field(
        default=("sigmoid", "sft"),
        min_length=1,
        description="losses that are summed. The small sft part keeps the chosen answers likely, which plain DPO lets"
        " slip",
    )
    loss_weights: tuple[float, ...] = Field(
        default=(1.0, 0.2), description="one for each loss; 1 where they are left out and one loss is named"
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="share of pairs believed to be the wrong way round; read by robust and exo_pair alone",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_loss_weighs_one(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "loss_weights" not in given and len(given.get("loss_type") or ()) == 1:
            return {**given, "loss_weights": (1.0,)}
        return given

    @model_validator(mode="after")
    def _losses_fit(self) -> Self:
        if len(self.loss_type) != len(self.loss_weights):
            raise ValueError(
                f"dpo.loss_weights must have one weight for each of the {len(self.loss_type)} losses in "
                f"dpo.loss_type, not {len(self.loss_weights)}"
            )
        if self.label_smoothing and not {"robust", "exo_pair"} & set(self.loss_type):
            raise ValueError(
                "dpo.label_smoothing is read by the losses robust and exo_pair alone; add one or set it to 0"
            )
        if "exo_pair" in self.loss_type and not self.label_smoothing:
            raise ValueError("dpo.loss_type exo_pair needs dpo.label_smoothing above 0, for example 0.001")
        return self


def dpo_classes() -> TrlClasses:
    """TRL's DPO, of which IPO and BCO are losses."""
    from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]

    return TrlClasses(DPOTrainer, DPOConfig)


def dpo_options(beta: float, losses: Sequence[DpoLoss], weights: Sequence[float] = (1.0,)) -> dict[str, Any]:
    """TRL's options for losses of its DPO trainer, each with its weight in the sum."""
    return {"beta": beta, "loss_type": list(losses), "loss_weights": list(weights)}


def _options(settings: DpoConfig, count: RowCount) -> dict[str, Any]:
    return {
        **dpo_options(settings.beta, settings.loss_type, settings.loss_weights),
        "label_smoothing": settings.label_smoothing,
    }


DPO = AlgorithmRow(DpoConfig, rows="pairs", trl=dpo_classes, options=_options, mark=Mark("circle", "vermilion"))
