"""Rows of a data set on the hub, read in batches, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from actors.errors import SalusError
from pipelines.data.rows import Row, require_columns

HUB_BATCH_ROWS = 1024


def hub_rows(repository: str, split: str, required: Sequence[str], config: str | None = None) -> Iterator[Row]:
    """The rows of one split, each holding at least the `required` columns.

    Raises `SalusError` where the hub cannot be reached, naming the local way, and for a missing column.
    """
    # Imported here: it takes seconds, and local files do not need it.
    from datasets import load_dataset

    place = " ".join(part for part in (repository, config, split) if part)
    try:
        rows = load_dataset(repository, config, split=split)
    except OSError as error:
        raise SalusError(
            f"{repository} cannot be fetched from the hub ({type(error).__name__}). Download its "
            "data files elsewhere and give their folder as the data set's location (data.path, of a probe "
            "data.probe_path) instead."
        ) from error
    require_columns(required, rows.column_names, place)
    yield from _placed(rows.iter(batch_size=HUB_BATCH_ROWS), place)


def _placed(batches: Iterable[dict[str, list[object]]], place: str) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield Row(dict(zip(batch, values, strict=True)), place, number, unit="row")
