"""Settings of the decision: the gates, and how a cycle's winner is chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipelines.config.section import Section


class GateConfig(Section):
    """Limits a policy must keep. The paper names no gate; every default is our choice."""

    # ERR strict allowed in cycle 1, 2, ...; the last value repeats; empty = no ERR gate. The first steps
    # over-refuse and later ones recover, so a recipe may begin loosely.
    err_strict_max: tuple[float, ...] = (0.4, 0.3, 0.15)
    # Fewest labelled prompts a choice may rest on.
    min_n: int = Field(default=50, ge=1)
    # Share of answers with a repeated 4-gram; None = not watched.
    max_repetition: float | None = Field(default=0.5, ge=0.0, le=1.0)
    # Mean answer length in tokens over the champion's; None = not watched.
    max_length_ratio: float | None = Field(default=3.0, gt=0.0)
    # Least share of prompts the judge gave a usable label for.
    min_coverage: float = Field(default=0.95, ge=0.0, le=1.0)

    @field_validator("err_strict_max")
    @classmethod
    def _shares(cls, limits: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0.0 <= limit <= 1.0 for limit in limits):
            raise ValueError("every err_strict_max is a share between 0 and 1, such as 0.15")
        return limits

    def err_limit(self, cycle: int) -> float | None:
        """The ERR limit of a cycle (counted from 1); None where ERR is not gated."""
        if not self.err_strict_max:
            return None
        return self.err_strict_max[min(max(cycle, 1), len(self.err_strict_max)) - 1]


class DecisionConfig(Section):
    """How a cycle's winner is chosen. Our choice throughout: the paper takes the higher score alone."""

    # What a policy must keep to be trained on from.
    gate: GateConfig = GateConfig()
    # What it must also keep to be published; None = the same gate.
    publish_gate: GateConfig | None = None
    # A no-effect challenger replaces the champion in at most 1 - confidence of cycles.
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    # Bootstrap samples.
    resamples: int = Field(default=2000, ge=100)
    # Least observed gain in SS that is worth a new policy.
    min_gain: float = Field(default=0.0, ge=0.0, le=1.0)
    # How several looks at the same validation split are paid for; `none` is refused for more than two challengers.
    correction: Literal["holm", "none"] = "holm"
    # After so many cycles in a row in which the champion stayed, no further one is run; None = all are run.
    patience: int | None = Field(default=None, ge=1)
