"""The queue of a run's judged answers, kept up to date while the run goes on."""

from __future__ import annotations

from pathlib import Path

from actors.contract.run_folder import RunFolder
from pipelines.feedback.review.queue import QueueConfig, Queued, build_queue
from pipelines.feedback.review.run_answers import cycle_shards, judged_cycles, shard_answers

# What tells one state of a cycle's shards from another: name and time of change in nanoseconds.
Signature = tuple[tuple[str, int], ...]


class RunQueue:
    """The answers of a run in the order people see them: newest cycle first, each answer once.

    A cycle is read again only when its shards have changed.
    """

    def __init__(self, folder: RunFolder, config: QueueConfig) -> None:
        self._folder = folder
        self._config = config
        self._known: dict[int, tuple[Signature, list[Queued]]] = {}

    def places(self) -> list[Queued]:
        """All of them, labelled or not; none while nothing is judged.

        Raises:
            SalusError: a shard of judgments cannot be read.
        """
        places: dict[str, Queued] = {}
        for cycle in judged_cycles(self._folder):
            for place in self._cycle(cycle):
                places.setdefault(place.key, place)
        return list(places.values())

    def _cycle(self, cycle: int) -> list[Queued]:
        shards = cycle_shards(self._folder, cycle)
        signature = tuple((shard.name, _changed(shard)) for shard in shards)
        known = self._known.get(cycle)
        if known is None or known[0] != signature:
            self._known[cycle] = signature, build_queue(shard_answers(shards, self._config), self._config)
        return self._known[cycle][1]


def _changed(shard: Path) -> int:
    """0 where it has just gone: reading it will say so."""
    return shard.stat().st_mtime_ns if shard.is_file() else 0
