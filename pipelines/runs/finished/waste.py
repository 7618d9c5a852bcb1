"""The kinds of things `salus runs gc` may remove; apart from it, because every command imports this."""

from __future__ import annotations

from enum import StrEnum


class Waste(StrEnum):
    """Why something may go."""

    # Of a challenger that lost, merged from an adapter that stays.
    WEIGHTS = "weights"
    # The same of a full fine-tune: there is no other copy.
    FULL_WEIGHTS = "full_weights"
    # Ray Train's own checkpoints and state.
    RAY_TRAIN = "ray_train"
    # Files that were being written when a process ended.
    PARTIAL = "partial"
