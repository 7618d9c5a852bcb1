"""IPO: a pair's answers apart by a fixed distance from the reference, not ever further (arXiv 2310.12036)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.dpo import dpo_classes, dpo_options
from actors.training.algorithms.row import AlgorithmRow, Mark
from actors.training.algorithms.settings import ALGORITHM_MEANS, Positive, ReferenceConfig
from actors.training.rows import RowCount


class IpoConfig(ReferenceConfig):
    """IPO on pairs (arXiv 2310.12036, Eq. 17), which TRL holds as a loss of DPO, by means per token."""

    algorithm: Literal["ipo"] = Field(default="ipo", description=ALGORITHM_MEANS)
    beta: Positive = Field(
        default=0.1, description="the paper's tau: the answers are to be 1 / (2 beta) nats a token apart"
    )


def _options(settings: IpoConfig, count: RowCount) -> dict[str, Any]:
    return dpo_options(settings.beta, ("ipo",))


IPO = AlgorithmRow(IpoConfig, rows="pairs", trl=dpo_classes, options=_options, mark=Mark("hexagon", "vermilion"))
