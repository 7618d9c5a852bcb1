"""How often answers have a label, under two policies on the same prompts: the shares, and how much they rose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.contract.records import Interval
from pipelines.measures.metrics import coded
from pipelines.measures.shares import CountedShare, paired_rise

Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class LabelShare:
    """A share of the prompts of some harm levels: the answers with a label, or those with any other."""

    levels: tuple[int, ...]
    # An index into `LABELS`.
    label: int
    # Whether it is the answers without that label that count.
    without: bool = False

    def of(self, labels: Labels) -> Flags:
        """Which answers count, shape (prompts,)."""
        found: Flags = (labels != self.label) if self.without else (labels == self.label)
        return found


@dataclass(frozen=True)
class PairedLabels:
    """The same prompts under both policies, each of shape (prompts,); a label is an index into `LABELS`, or -1."""

    levels: Labels
    old: Labels
    new: Labels
    bases: Labels

    @classmethod
    def of(cls, before: pa.Table, after: pa.Table) -> PairedLabels:
        """Of two tables of judgments that are aligned (`pipelines.decision.paired.aligned`)."""
        levels, old = coded(before)
        _, new = coded(after)
        bases = before["base_prompt"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        return cls(levels, old, new, bases)

    def has(self, share: LabelShare) -> bool:
        """Whether there is a prompt that the share is about."""
        return bool(np.isin(self.levels, share.levels).any())

    def both(self, share: LabelShare) -> tuple[Flags, Flags, Labels]:
        """Before, after and base prompt of the prompts that have a label under both policies."""
        chosen = np.isin(self.levels, share.levels) & (self.old >= 0) & (self.new >= 0)
        return share.of(self.old[chosen]), share.of(self.new[chosen]), self.bases[chosen]

    def rise(self, share: LabelShare) -> Interval | None:
        """How much more often it happens; None where no prompt has a label under both."""
        before, after, bases = self.both(share)
        return paired_rise(before, after, bases) if len(bases) else None

    def counted(self, labels: Labels, share: LabelShare) -> CountedShare | None:
        """How often it happens under one policy (`old` or `new`); None where no prompt has a label."""
        chosen = np.isin(self.levels, share.levels) & (labels >= 0)
        if not chosen.any():
            return None
        _, sizes = np.unique(self.bases[chosen], return_counts=True)
        return CountedShare.of(int(share.of(labels[chosen]).sum()), sizes)
