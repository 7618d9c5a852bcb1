"""Trackers follow a run: each in a thread of its own reads the run folder now and then and tells what is new.

What was told is in `tracking.json` of the run. By that another session goes on in the same run of each tracker, and
tells what is missing. Trackers are told by files alone: nothing in a cycle waits for one, and none ends a run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

from pydantic import Field

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import write_text
from actors.files.sums import file_sum
from pipelines.config.recipe import Recipe, TrackerName
from pipelines.report.tracking.feed import Feed, read_feed
from pipelines.report.tracking.port import Ending, TrackedRun, Tracker, open_tracker

EVERY_S = 5.0
# How long the end of a run waits for one tracker.
CLOSE_S = 60.0
_CURE = "the run is not touched by that, and the same command tells the rest"


class TrackerRecord(Record):
    """What one tracker knows of a run."""

    # The tracker's own id of the run.
    run_id: str
    # The last step of each series.
    steps: dict[str, int] = Field(default_factory=dict)
    # Sums of what was told, by a name for each.
    sums: dict[str, str] = Field(default_factory=dict)


class TrackingRecord(Record):
    """What every tracker of a run knows of it."""

    trackers: dict[TrackerName, TrackerRecord] = Field(default_factory=dict)


class _Records:
    """The record on disk, which the threads of several trackers change."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.tracking
        self._lock = threading.Lock()

    def of(self, name: TrackerName) -> TrackerRecord | None:
        with self._lock:
            return self._read().trackers.get(name)

    def keep(self, name: TrackerName, told: TrackerRecord) -> None:
        with self._lock:
            record = self._read()
            write_text(TrackingRecord(trackers=record.trackers | {name: told}).model_dump_json(indent=1), self._path)

    def _read(self) -> TrackingRecord:
        return find_record(TrackingRecord, self._path, "what trackers were told") or TrackingRecord()


class TrackerThread:
    """One tracker that follows one run. Life: start -> close."""

    def __init__(
        self, name: TrackerName, folder: RunFolder, recipe: Recipe, records: _Records, say: Callable[[str], None]
    ) -> None:
        self._name, self._folder, self._recipe, self._records, self._say = name, folder, recipe, records, say
        self._ended = threading.Event()
        self._ending: Ending = "stopped"
        # A client that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._follow, name=f"tracking-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, ending: Ending, timeout_s: float = CLOSE_S) -> None:
        """Tell the rest; returns when that is done, or after so many seconds."""
        self._ending = ending
        self._ended.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._say(f"{self._name} has not taken all of this run after {timeout_s:g} s; {_CURE}")

    def _follow(self) -> None:
        try:
            told = self._records.of(self._name)
            root = self._folder.root
            run = TrackedRun(self._recipe.name, root.name, root, told.run_id if told is not None else None)
            tracker = open_tracker(self._name, run)
            told = told or TrackerRecord(run_id=tracker.run_id)
            self._records.keep(self._name, told)
            over = False
            while not over:
                over = self._ended.wait(EVERY_S)
                told = self._look(tracker, told)
            tracker.close(self._ending)
        except Exception as error:  # What a tracker's client raises has no type in common.
            words = error.sentence if isinstance(error, SalusError) else " ".join(str(error).split())[:300]
            self._say(f"{self._name} is no longer told of this run ({type(error).__name__}: {words}); {_CURE}")

    def _look(self, tracker: Tracker, told: TrackerRecord) -> TrackerRecord:
        steps, sums = dict(told.steps), dict(told.sums)
        try:
            tell(tracker, steps, sums, read_feed(self._folder, self._recipe))
        finally:
            now = told.model_copy(update={"steps": steps, "sums": sums})
            if now != told:
                self._records.keep(self._name, now)
        return now


def tell(tracker: Tracker, steps: dict[str, int], sums: dict[str, str], feed: Feed) -> None:
    """Tell a tracker what it does not know yet, and note each piece that it took. Raises what its client raises."""
    for series in feed.series:
        new = [row for row in series.rows if row[0] > steps.get(series.name, 0)]
        if new:
            tracker.figures(series.name, new)
            steps[series.name] = new[-1][0]
    for name, of, say in _pieces(tracker, feed):
        if sums.get(name) != of:
            say()
            sums[name] = of


def _pieces(tracker: Tracker, feed: Feed) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """What is told in one piece, and again where it has changed: its name, its sum, and how it is told."""
    yield "settings", _sum(json.dumps(dict(feed.settings))), partial(tracker.settings, feed.settings)
    for name, text in feed.sentences.items():
        yield name, _sum(text), partial(tracker.sentence, name, text)
    for name, path in feed.files.items():
        yield f"file {name}", file_sum(path), partial(tracker.file, name, path)
    for policy in feed.policies:
        of = _sum(json.dumps(asdict(policy), default=str))
        yield f"policy {policy.version}", of, partial(tracker.policy, policy)


@contextmanager
def tracked(recipe: Recipe, folder: RunFolder, say: Callable[[str], None]) -> Iterator[None]:
    """The trackers that a recipe names are told of the run inside, and of how it ended.

    `say` is told once of a tracker that fails.
    """
    records = _Records(folder)
    followers = [TrackerThread(name, folder, recipe, records, say) for name in recipe.tracking]
    for follower in followers:
        follower.start()
    ending: Ending = "failed"
    try:
        yield
        ending = "finished"
    except KeyboardInterrupt:
        ending = "stopped"
        raise
    finally:
        for follower in followers:
            follower.close(ending)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
