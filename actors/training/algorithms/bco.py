"""BCO: each answer of a pair as a classifier's example, the reward its logit (arXiv 2404.04656)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.dpo import dpo_classes, dpo_options
from actors.training.algorithms.row import AlgorithmRow, Mark
from actors.training.algorithms.settings import ALGORITHM_MEANS, Positive, ReferenceConfig
from actors.training.rows import RowCount


class BcoConfig(ReferenceConfig):
    """BCO on pairs (arXiv 2404.04656), which TRL holds as a loss of DPO.

    The paper also learns from single rows and shifts rewards by their running mean. TRL 1.16 has neither.
    """

    algorithm: Literal["bco"] = Field(default="bco", description=ALGORITHM_MEANS)
    beta: Positive = Field(default=0.1, description="scale of the rewards, which are log-ratios to the reference model")


def _options(settings: BcoConfig, count: RowCount) -> dict[str, Any]:
    return dpo_options(settings.beta, ("bco_pair",))


BCO = AlgorithmRow(BcoConfig, rows="pairs", trl=dpo_classes, options=_options, mark=Mark("square", "green"))
