"""The training curve of one challenger: what TRL logged at each optimizer step, as one Parquet file.

The trainer's first rank writes it anew while it trains, so the file is always whole. Columns: `step` (int32, from 1),
then a float64 column for each figure, as `loss`, `grad_norm`, `learning_rate`, `rewards/margins` and `kl`. A figure
that is not finite, or that a step lacks, is null. It holds no times, so that the same seed gives the same file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import SalusError

# In this order; all others follow by name.
_FIRST = ("loss", "grad_norm", "learning_rate")
# TRL counts tokens anew where a training goes on from a checkpoint, and the epoch follows from the step.
_LEFT_OUT = ("step", "epoch", "num_tokens")


@dataclass(frozen=True)
class Curve:
    """A curve as it was read: the logged steps in order, and each figure's values at them."""

    steps: tuple[int, ...]
    figures: Mapping[str, tuple[float | None, ...]]

    def at(self, place: int) -> dict[str, float]:
        """The figures that are known at one place of `steps`."""
        return {name: value for name, values in self.figures.items() if (value := values[place]) is not None}


def curve_table(logs: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows of TRL's log that hold a loss, as a table; `logs` is a trainer's `log_history`."""
    rows = [entry for entry in logs if "loss" in entry]
    names = {name for entry in rows for name in entry} - set(_LEFT_OUT)
    ordered = [*(name for name in _FIRST if name in names), *sorted(names - set(_FIRST))]
    columns: dict[str, Any] = {"step": pa.array([int(entry["step"]) for entry in rows], pa.int32())}
    columns |= {name: pa.array([_finite(entry.get(name)) for entry in rows], pa.float64()) for name in ordered}
    return pa.table(columns)


def read_curve(path: Path) -> Curve | None:
    """The curve in a file; None where there is none, as of a run of an earlier version.

    Raises:
        SalusError: it is no such file.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowInvalid) as error:
        raise SalusError(f"{path} is not a readable training curve ({error}); take it from a copy.") from error
    if "step" not in table.column_names:
        raise SalusError(f"{path} is not a training curve, as it has no column step; take it from a copy.")
    names = [name for name in table.column_names if name != "step"]
    return Curve(
        steps=tuple(int(step) for step in table["step"].to_pylist() if step is not None),
        figures={name: tuple(table[name].to_pylist()) for name in names},
    )


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
