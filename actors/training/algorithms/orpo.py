"""ORPO: likelihood of the better answer and odds against the worse one, without a reference (arXiv 2403.07691)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.row import AlgorithmRow, Mark, TrlClasses, experimental
from actors.training.algorithms.settings import ALGORITHM_MEANS, ChallengerConfig, Positive
from actors.training.rows import RowCount


class OrpoConfig(ChallengerConfig):
    """ORPO on pairs (arXiv 2403.07691)."""

    algorithm: Literal["orpo"] = Field(default="orpo", description=ALGORITHM_MEANS)
    beta: Positive = Field(default=0.1, description="weight of the odds ratio beside the better answer's likelihood")


def _trl() -> TrlClasses:
    with experimental():
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    return TrlClasses(ORPOTrainer, ORPOConfig)


def _options(settings: OrpoConfig, count: RowCount) -> dict[str, Any]:
    return {"beta": settings.beta, "remove_unused_columns": False}


ORPO = AlgorithmRow(
    OrpoConfig,
    rows="pairs",
    trl=_trl,
    options=_options,
    mark=Mark("triangle", "green"),
    reference=False,
    full_logits=True,
)
