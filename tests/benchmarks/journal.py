"""Appends a second and the time of a read: a journal in SQLite beside one Parquet file an append, in turns.

    python -m tests.benchmarks.journal --appends 300 --rounds 4

Each append is one captured answer, on disk before the next one begins. A read takes all rows. Prints a line a round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from actors.files.shards import write_table
from actors.serve.feedback.journal import Journal, read
from actors.serve.feedback.records import CAPTURES, CapturedAnswer
from tests.actors.serve.feedback.given import captured

# Appends of one kind before those of the other.
TURN = 20
READS = 20


class ParquetJournal:
    """Appends as earlier versions did."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0

    def append(self, items: Sequence[CapturedAnswer]) -> None:
        table = pa.Table.from_pylist([item.model_dump() for item in items], schema=CAPTURES.schema)
        write_table(table, self._folder / f"{self._files:020d}-0000-00000000.parquet")
        self._files += 1


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def append_each(append: Callable[[Sequence[CapturedAnswer]], None], answers: Sequence[CapturedAnswer]) -> None:
    for answer in answers:
        append([answer])


def round_of(place: Path, answers: Sequence[CapturedAnswer]) -> tuple[float, float]:
    """Print a round; how many times as fast SQLite appends, and reads."""
    folders = {name: place / name for name in ("parquet", "sqlite")}
    wall, reads = dict.fromkeys(folders, 0.0), {name: list[float]() for name in folders}
    with closing(Journal(folders["sqlite"], CAPTURES)) as journal:
        ways = {"parquet": ParquetJournal(folders["parquet"]).append, "sqlite": journal.append}
        for start in range(0, len(answers), TURN):
            for name, append in ways.items():
                wall[name] += timed(lambda a=append, s=start: append_each(a, answers[s : s + TURN]))  # type: ignore[misc]
        for _ in range(READS):
            for name, folder in folders.items():
                reads[name].append(timed(lambda f=folder: read(f, CAPTURES)))  # type: ignore[misc]
    read_ms = {name: 1000 * statistics.median(times) for name, times in reads.items()}
    ratios = wall["parquet"] / wall["sqlite"], read_ms["parquet"] / read_ms["sqlite"]
    print(
        f"appends/s {len(answers) / wall['sqlite']:.0f} against {len(answers) / wall['parquet']:.0f} ({ratios[0]:.2f}),"
        f" read {read_ms['sqlite']:.1f} ms against {read_ms['parquet']:.1f} ms ({ratios[1]:.0f})",
        flush=True,
    )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--appends", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    text = "In the fridge, not the freezer. " * 20
    answers = [captured(f"chatcmpl-{i:032x}", answer=text) for i in range(asked.appends)]
    found = []
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as place:
            found.append(round_of(Path(place), answers))
    appends, reads = (statistics.median(ratios) for ratios in zip(*found, strict=True))
    print(f"median ratios: appends {appends:.2f}, reads {reads:.0f}")


if __name__ == "__main__":
    main()
