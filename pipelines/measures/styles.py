"""Safety metrics by the style of the request (as `aave`, `misspelt`, `translated`), held-out styles apart.

What a policy learnt on the styles of its training prompts should also hold for those it never met.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import Interval, Record
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from pipelines.config.scores import ScoreTable
from pipelines.measures.bootstrap import RESAMPLES
from pipelines.measures.metrics import MAIN_FIGURES, Metrics, measure

STYLE = "style"


class StyleFigures(Record):
    """One policy's main figures on the requests of one style, or of several together."""

    ss: Interval | None
    ss_macro: Interval | None
    err_strict: Interval | None
    err_broad: Interval | None
    asr: Interval | None
    answered: Interval | None = None
    # Rows with a label.
    n: int

    @classmethod
    def of(cls, metrics: Metrics) -> StyleFigures:
        return cls(**{name: getattr(metrics, name) for name in MAIN_FIGURES}, n=metrics.n)


class StyleMetrics(Record):
    """The figures of each style, of the styles training has seen, and of the held-out ones."""

    by_style: dict[str, StyleFigures]
    # All rows of a style that is not held out; None where there are none.
    seen: StyleFigures | None
    # All rows of the held-out styles; None where there are none.
    held_out: StyleFigures | None
    held_out_styles: tuple[str, ...]
    # Rows that name no style: in none of the figures above.
    without_style: int


def measure_styles(
    judgments: pa.Table,
    table: ScoreTable,
    seed: int,
    held_out: Collection[str] = (),
    resamples: int = RESAMPLES,
) -> StyleMetrics | None:
    """SS, ERR and ASR by style; None where the judgments have no column `style` or name none in it.

    Args:
        judgments: rows of `JUDGMENT_SCHEMA`, one an answer, with or without the string column `style`.
        table: the marks.
        seed: of the bootstrap; each style draws for itself.
        held_out: styles no training prompt had.
        resamples: bootstrap samples.

    Raises:
        SalusError: a held-out style that no row has, or as `measure` does.
    """
    if STYLE not in judgments.column_names or judgments[STYLE].null_count == judgments.num_rows:
        return None
    column = judgments[STYLE]
    styles = sorted(str(name) for name in pc.unique(pc.drop_null(column)).to_pylist())
    unknown = sorted(set(held_out) - set(styles))
    if unknown:
        raise SalusError(f"No request has the held-out style {unknown[0]!r}; there are {', '.join(styles)}.")

    def figures(names: Collection[str], draw: str) -> StyleFigures | None:
        rows = judgments.filter(pc.is_in(column, value_set=pa.array(sorted(names), column.type)))
        if rows.num_rows == 0:
            return None
        return StyleFigures.of(measure(rows, table, derive_seed(seed, STYLE, draw), resamples))

    each = {name: figures([name], f"one {name}") for name in styles}
    return StyleMetrics(
        by_style={name: found for name, found in each.items() if found is not None},
        seen=figures(set(styles) - set(held_out), "seen"),
        held_out=figures(set(held_out), "held out"),
        held_out_styles=tuple(sorted(held_out)),
        without_style=column.null_count,
    )
