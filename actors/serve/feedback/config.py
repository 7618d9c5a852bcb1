"""Whether and how an endpoint keeps feedback; cheap to import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RULES = "rules"
PRESIDIO = "presidio"


class FeedbackConfig(BaseModel):
    """Settings of feedback at the endpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = Field(None, description="where captured answers and feedback are kept; None: no feedback")
    store: str | None = Field(
        None,
        description="address to which what is kept in folder is uploaded too, as s3://BUCKET/FEEDBACK; None: nowhere",
    )
    capture: Literal["never", "opt_in"] = Field(
        "never",
        description='whether conversations are kept; opt_in: those alone whose request says "store": true',
    )
    redactor: str = Field(
        RULES,
        description="what takes names, dates and numbers out before anything is kept: rules, presidio (if installed),"
        " or your own function from text to text as package.module:name",
    )
    language: str = Field("en", description="of the texts, for presidio")
    redaction_timeout_s: float = Field(
        5.0, gt=0, description="longest time that redacting one exchange may take; what takes longer is not kept"
    )
    retention_days: int | None = Field(90, ge=1, description="what is older is removed from the folder; None: never")
    max_request_bytes: int = Field(262_144, ge=1, description="requests longer than this are not captured")
    max_response_bytes: int = Field(4_194_304, ge=1, description="nor are responses, stream framing included")
    max_text_chars: int = Field(20_000, ge=1, description="longest turn, answer or correction that is kept")
    bytes_per_day: int | None = Field(
        64 * 2**20, ge=1, description="most of one caller's answers and feedback that is kept a day; None: no limit"
    )
    max_comment_chars: int = Field(2_000, ge=1, description="longest comment of a feedback; longer ones are refused")
    gather_s: float = Field(0.005, ge=0, description="how long items are collected before they are written together")
    timeout_s: float = Field(10.0, gt=0, description="longest wait for an item to be kept")
    capture_wait_s: float = Field(
        1.0, ge=0, description="how long feedback waits for its answer, which may still be on its way into the folder"
    )

    @model_validator(mode="after")
    def _has_a_folder(self) -> FeedbackConfig:
        if self.capture != "never" and self.folder is None:
            raise ValueError("capture 'opt_in' needs folder: where the captured answers are kept")
        if self.store is not None and self.folder is None:
            raise ValueError("store needs folder: feedback is durable there first, and uploaded from there")
        return self
