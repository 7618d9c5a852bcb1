"""How much of each caller a folder of feedback takes a day: no key can fill the disk."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import Record
from actors.serve.feedback.capture import Clock
from actors.serve.feedback.sink import OverQuota


class DailyQuota:
    """Counts the bytes of each caller's items on the present day (UTC). It belongs to one event loop."""

    def __init__(self, bytes_per_day: int | None, clock: Clock) -> None:
        """`bytes_per_day`: None: any number."""
        self._most = bytes_per_day
        self._clock = clock
        self._day = date.min
        self._used: Counter[str] = Counter()

    def take(self, caller: str, item: Record) -> None:
        """Count an item that is about to be kept.

        Raises:
            OverQuota: it would be too much for today, and is not counted.
        """
        self._turn()
        size = len(item.model_dump_json().encode())
        if self._most is not None and self._used[caller] + size > self._most:
            raise OverQuota(
                f"The key {caller} may have {self._most} bytes of answers and feedback kept a day; go on tomorrow"
                " (UTC), or raise feedback.bytes_per_day."
            )
        self._used[caller] += size

    def kept(self, table: pa.Table) -> None:
        """Count what a journal's rows hold of today, as after a restart."""
        self._turn()
        midnight = datetime.combine(self._day, datetime.min.time(), tzinfo=self._clock().tzinfo)
        today = table.filter(pc.greater_equal(table["at"], pa.scalar(midnight, type=table["at"].type)))
        texts = [name for name in today.column_names if pa.types.is_string(today.schema.field(name).type)]
        sizes = [pc.fill_null(pc.binary_length(today[name]), 0).to_pylist() for name in texts]
        for caller, *lengths in zip(today["caller"].to_pylist(), *sizes, strict=True):
            self._used[str(caller)] += sum(lengths)

    def _turn(self) -> None:
        if (day := self._clock().date()) != self._day:
            self._day = day
            self._used.clear()
