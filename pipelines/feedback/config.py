"""Which feedback is trained on, and how much of it; cheap to import."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FeedbackRowsConfig(BaseModel):
    """Feedback of a deployment as further rows, beside those from the judge's labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1, description="the endpoint's feedback.folder, or a copy of it")
    policies: tuple[str, ...] | None = Field(
        None, description="answers of these policy versions alone; None: whichever policy gave them"
    )
    trusted_only: tuple[str, ...] | None = Field(
        (), description="feedback of these callers alone, by the names of their keys; null: of everybody"
    )
    supplied: bool = Field(
        False, description="also answers that the caller sent along with the feedback, which nobody else vouches for"
    )
    other_turns: Literal["leave_out", "ignore"] = Field(
        "leave_out",
        description="what happens to answers in conversations of more than one turn (a system prompt, earlier"
        " questions): a row holds the last question alone, so its answer may fit nothing in it",
    )
    max_per_caller: int = Field(200, ge=1, description="most items of one caller a cycle, drawn by the recipe's seed")
    kto_weight: float = Field(
        1.0, ge=0, le=100, description="how often a KTO row of feedback enters; of 2.5, every second one three times"
    )
    pair_weight: float = Field(1.0, ge=0, le=100, description="the same of a DPO pair")
    max_share: float = Field(
        0.2, gt=0, lt=1, description="most of a cycle's training rows that may be feedback, repetitions counted"
    )
