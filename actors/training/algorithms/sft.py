"""SFT: learns to write demonstrated answers; what comes before the cycles of a run, and never a challenger in them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from actors.training.algorithms.row import AlgorithmRow, Mark, TrlClasses
from actors.training.algorithms.settings import ALGORITHM_MEANS, ChallengerConfig
from actors.training.rows import RowCount


class SftSettings(ChallengerConfig):
    """Supervised fine-tuning: the likelihood of the demonstrated answer, and of nothing else in its conversation."""

    algorithm: Literal["sft"] = Field(default="sft", description=ALGORITHM_MEANS)


def _trl() -> TrlClasses:
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    return TrlClasses(SFTTrainer, SFTConfig)


def _options(settings: SftSettings, count: RowCount) -> dict[str, Any]:
    # Demonstrations come in the order of their file; the trainer's seed shuffles them anew in each epoch.
    return {"completion_only_loss": True, "train_sampling_strategy": "random"}


SFT = AlgorithmRow(
    SftSettings, rows="demonstrations", trl=_trl, options=_options, mark=Mark("pentagon", "green"), reference=False
)
