"""The axis of a picture: time in which the run ran, with the waits between its sessions cut out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.cluster.times import covered
from pipelines.report.timeline.lanes import Timeline

# Time that no stage and no worker covers is cut out from this length on: a run resumed the next day, or served for
# hours after its last cycle, would otherwise be a few hairlines.
PAUSE_S = 30.0
# What a pause leaves, as a share of what is drawn.
CUT = 0.01


class Elapsed:
    """Seconds since the epoch -> seconds of the run."""

    def __init__(self, timeline: Timeline) -> None:
        stretches = covered(bar for lane in timeline.lanes for bar in lane.bars)
        left_s = CUT * sum(end - start for start, end in stretches)
        at, ends = 0.0, stretches[0][0]
        self.pauses_s: list[float] = []
        self._clock: list[float] = []
        self._run: list[float] = []
        for start, end in stretches:
            paused = start - ends > PAUSE_S
            at += left_s if paused else start - ends
            if paused:
                self.pauses_s.append(at - left_s / 2)
            self._clock += [start, end]
            self._run += [at, at + end - start]
            at, ends = self._run[-1], end

    @property
    def total_s(self) -> float:
        return self._run[-1]

    def at(self, clock_s: Sequence[float]) -> npt.NDArray[np.float64]:
        """Where these times are drawn, shape (n,)."""
        drawn: npt.NDArray[np.float64] = np.interp(np.asarray(clock_s), self._clock, self._run)
        return drawn
