"""An endpoint's feedback in an object store: kept in its folder first, and uploaded from there, a file a day.

```
captures/DAY-WRITER-SUM.parquet  feedback/DAY-WRITER-SUM.parquet
```

A file has the form of a journal's of earlier versions, so `actors.serve.feedback.journal` reads what was fetched. The
file of a day is replaced while the day lasts, and when something of it expires or is replaced. Each folder writes files
of its own number, so a second endpoint, or one on another machine, adds to the same place.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import write_text
from actors.files.sums import file_sum
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import read
from actors.serve.feedback.records import CAPTURES, FEEDBACK, Clock, JournalKind, utc_now
from pipelines.runs.store.connect import connect
from pipelines.runs.store.faults import told
from pipelines.runs.store.place import RemotePlace, place_of

# How often a folder is looked at. Seconds.
EVERY_S = 60.0
_DAY = timedelta(days=1)
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WRITERS = 10_000
_WRITER_FILE = ".store.json"


class FolderNumber(Record):
    """By which a folder of feedback knows its files in a store."""

    number: int


class Segment(NamedTuple):
    """What the name of a file says."""

    day: int
    writer: int
    sum: str

    @classmethod
    def of(cls, name: str) -> Segment | None:
        """None where it is no such file."""
        moment, *rest = name.removesuffix(".parquet").split("-")
        if not name.endswith(".parquet") or len(rest) != 2 or not (moment.isdecimal() and rest[0].isdecimal()):
            return None
        return cls(int(moment) // _DAY_US, int(rest[0]), rest[1])


class FeedbackUploads:
    """One folder's way to its place in a store. Life: `FeedbackUploads(...)` -> `step`*

    Raises:
        SalusError: the address is none, or the store is out of reach or refuses.
    """

    def __init__(self, config: FeedbackConfig, clock: Clock = utc_now) -> None:
        """`config` names a folder and a store."""
        assert config.folder is not None and config.store is not None
        place = place_of(config.store)
        if not isinstance(place, RemotePlace):
            raise SalusError(f"feedback.store {config.store} is no address; give one such as s3://BUCKET/FEEDBACK.")
        self._place = place
        self._folder = config.folder.absolute()
        self._retention = timedelta(days=config.retention_days) if config.retention_days is not None else None
        self._clock = clock
        self._objects = connect(place, "give another address as feedback.store")
        # The day on which all of the folder was looked at last.
        self._swept: int | None = None

    def step(self) -> None:
        """Bring the store to what the folder holds by now.

        Raises:
            SalusError: the folder cannot be read, or the store is out of reach or refuses; step again.
        """
        with told(self._place, "change"):
            writer, today = self._writer(), (self._clock() - _EPOCH) // _DAY
            # What expired or was replaced is found once a day; what is new is of today, or came at midnight.
            whole = self._swept != today
            since = None if whole else _EPOCH + (today - 1) * _DAY
            # An answer is read after what was said of it, and is in the store before that.
            feedback, captures = (read(self._folder / kind.name, kind, since=since) for kind in (FEEDBACK, CAPTURES))
            self._upload(CAPTURES, captures, writer, today, whole)
            self._upload(FEEDBACK, feedback, writer, today, whole)
            self._swept = today

    def _upload(self, kind: JournalKind, rows: pa.Table, writer: int, today: int, whole: bool) -> None:
        there = self._there(kind)
        kept = {name for name, of in there.items() if not self._is_due(of, writer, None if whole else today - 1)}
        # An empty file says that there is such a journal.
        for day in sorted({today, *_days(rows)}):
            kept.add(self._put(kind, _of_day(rows, day), Segment(day, writer, ""), there))
        self._objects.delete(f"{kind.name}/{name}" for name in sorted(there.keys() - kept))

    def _is_due(self, of: Segment, writer: int, since: int | None) -> bool:
        """Whether a file is removed unless it still holds what the folder does: an own one of the days looked at.

        Another folder's file is removed once all of it has expired.
        """
        if of.writer == writer:
            return since is None or of.day >= since
        return self._retention is not None and _EPOCH + (of.day + 1) * _DAY < self._clock() - self._retention

    def _put(self, kind: JournalKind, rows: pa.Table, of: Segment, there: dict[str, Segment]) -> str:
        """The name of the file of a day, uploaded where there is none of this content."""
        with tempfile.TemporaryDirectory(prefix="salus-feedback-") as work:
            file = Path(work) / "rows.parquet"
            pq.write_table(rows, file)
            digest = file_sum(file)
            of = of._replace(sum=digest[:8])
            if (known := next((name for name, each in there.items() if each == of), None)) is not None:
                return known
            # They are read in the order of their names: of two files of a day the later one counts.
            within = min((self._clock() - _EPOCH) // timedelta(microseconds=1) - of.day * _DAY_US, _DAY_US - 1)
            name = f"{of.day * _DAY_US + within:020d}-{of.writer:04d}-{of.sum}.parquet"
            self._objects.upload(file, f"{kind.name}/{name}", digest)
        return name

    def _there(self, kind: JournalKind) -> dict[str, Segment]:
        names = (name.rpartition("/")[2] for name in self._objects.list(kind.name))
        return {name: of for name in names if (of := Segment.of(name)) is not None}

    def _writer(self) -> int:
        """The number of this folder, drawn once."""
        path = self._folder / _WRITER_FILE
        known = find_record(FolderNumber, path, "the number of a folder of feedback", "take it from a copy")
        if known is None:
            taken = {of.writer for kind in (CAPTURES, FEEDBACK) for of in self._there(kind).values()}
            free = sorted(set(range(_WRITERS)) - taken)
            if not free:
                raise SalusError(f"{self._place} has the files of {_WRITERS} folders; name another feedback.store.")
            known = FolderNumber(number=secrets.choice(free))
            write_text(known.model_dump_json(), path)
        return known.number


@contextmanager
def uploading(
    configs: Iterable[FeedbackConfig], say: Callable[[str], None], every_s: float = EVERY_S
) -> Iterator[None]:
    """Upload inside, in a thread, what these endpoints keep; those without a store are left out.

    What fails is said and tried again: what people say is durable in the folder before.

    Raises:
        SalusError: as `FeedbackUploads`, before anything else starts.
    """
    uploads = [FeedbackUploads(config) for config in configs if config.store is not None]
    over = threading.Event()

    def step() -> None:
        for each in uploads:
            try:
                each.step()
            except (SalusError, OSError) as error:
                say(f"feedback was not uploaded, which is tried again: {error}")

    def run() -> None:
        while not over.wait(every_s):
            step()

    with ExitStack() as ending:
        if uploads:
            thread = threading.Thread(target=run, name="feedback uploads", daemon=True)
            thread.start()
            # Last of all what came since.
            ending.callback(step)
            ending.callback(thread.join)
            ending.callback(over.set)
        yield


def _days(rows: pa.Table) -> set[int]:
    return set(pc.unique(_day_column(rows)).to_pylist())


def _of_day(rows: pa.Table, day: int) -> pa.Table:
    return rows.filter(pc.equal(_day_column(rows), pa.scalar(day, pa.int64())))


def _day_column(rows: pa.Table) -> Any:
    return pc.divide(rows["at"].cast(pa.int64()), pa.scalar(_DAY_US, pa.int64()))
