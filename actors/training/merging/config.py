"""How policies are merged: the method and its settings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from actors.contract.records import ChallengerName
from actors.training.algorithms.settings import Count, Settings

MergeMethod = Literal["linear", "ties", "dare_linear", "dare_ties"]
Sign = Literal["total", "frequency"]
# Those that add updates up, so that weights of one each would sum them. The others take a mean by themselves.
_SUMS: tuple[MergeMethod, ...] = ("linear", "dare_linear")


class MergeSettings(Settings):
    """How the updates of several policies to one base become one update."""

    method: MergeMethod = Field(
        default="linear",
        description="linear: the weighted sum of the updates. ties: of each update only its largest elements, and of"
        " those only the ones of the sign that most weight is behind (arXiv 2306.01708). dare_linear, dare_ties:"
        " elements are dropped at random first, and the others scaled up (arXiv 2311.03099)",
    )
    density: float = Field(
        default=0.5, gt=0, le=1, description="share of an update's elements that ties and dare keep; linear keeps all"
    )
    sign: Sign = Field(
        default="total",
        description="which sign wins an element, in ties and dare_ties: that of the sum, or that of more policies",
    )
    of: Literal["auto", "adapters", "weights"] = Field(
        default="auto",
        description="what is merged. adapters: a LoRA adapter comes of it; all methods but linear decompose each"
        " matrix, which takes hours for a large model. weights: whole weights, one tensor at a time. auto: adapters"
        " where all have one",
    )
    rank: Count | None = Field(
        default=None,
        description="rank of the merged adapter, where the method is not linear; None: the sum of the adapters' ranks,"
        " which linear always has",
    )


class MergeConfig(MergeSettings):
    """The challenger of each cycle that is merged of those that were trained in it."""

    weights: dict[ChallengerName, float] = Field(
        default={},
        description="weight of each challenger's update, by its name; empty: all alike, so that the result is a mean",
    )

    def check(self, challengers: Sequence[ChallengerName], adapters: bool) -> None:
        """Raise ValueError where these challengers cannot be merged so; `adapters`: whether they are adapters."""
        if len(challengers) < 2:
            raise ValueError("merge needs two challengers at least in train.challengers; name another, or leave it out")
        if self.weights and set(self.weights) != set(challengers):
            raise ValueError(
                f"merge.weights must have one weight for each challenger ({', '.join(challengers)}), and no other"
            )
        if self.of == "adapters" and not adapters:
            raise ValueError("merge.of 'adapters' needs train.lora; set it to weights or auto")


@dataclass(frozen=True)
class WeightedMerge:
    """Settings, and the weight of each update in their order."""

    settings: MergeSettings
    weights: tuple[float, ...]
    # Of what `dare` drops.
    seed: int = 0


def default_weights(method: MergeMethod, count: int) -> tuple[float, ...]:
    """Weights by which so many updates come to a mean of them."""
    return (1 / count if method in _SUMS else 1.0,) * count
