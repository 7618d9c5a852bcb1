"""SLiC-HF: the better answer's log-likelihood ahead by a margin, by a hinge, without a reference (arXiv 2305.10425)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.cpo import cpo_classes, cpo_options
from actors.training.algorithms.row import AlgorithmRow, Mark
from actors.training.algorithms.settings import ALGORITHM_MEANS, ChallengerConfig, Positive
from actors.training.rows import RowCount


class SlicConfig(ChallengerConfig):
    """SLiC-HF on pairs (arXiv 2305.10425, Eq. 1), which TRL holds as the hinge loss of CPO.

    TRL's loss is max(0, 1 - d / margin): the paper's, divided by the margin. d is the difference of the answers'
    log-likelihoods. The paper's regularizer is the better answer's likelihood; TRL takes its mean per token.
    """

    algorithm: Literal["slic"] = Field(default="slic", description=ALGORITHM_MEANS)
    margin: Positive = Field(
        default=10.0, description="nats by which the better answer's log-likelihood is to be ahead; beyond, no loss"
    )
    likelihood_weight: float = Field(
        default=0.5, ge=0, description="weight of the better answer's likelihood in the loss, which keeps the language"
    )


def _options(settings: SlicConfig, count: RowCount) -> dict[str, Any]:
    return cpo_options("hinge", 1 / settings.margin, settings.likelihood_weight)


SLIC = AlgorithmRow(
    SlicConfig,
    rows="pairs",
    trl=cpo_classes,
    options=_options,
    mark=Mark("triangle", "sky"),
    reference=False,
    full_logits=True,
)
