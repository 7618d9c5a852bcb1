"""What size costs: many generators, a long stream of prompts, many judgments to training rows.

    python -m tests.benchmarks.scale generators --actors 1 4 16 64
    python -m tests.benchmarks.scale stream --prompts 1000000
    python -m tests.benchmarks.scale rows --judgments 1000000

Generators and judges are real actors whose engine sleeps and whose scorer is a constant. `rows` measures the shuffle
against `tests.benchmarks.scale_script`, a process of its own, in turns, and compares all rows; the shuffle's processes
are brought up before, as a run does while its engines start. Smaller sizes are for a quick check. "Heap" is the memory
that belongs to processes alone: neither files nor Ray's object store. It is looked at twice a second.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pyarrow as pa

from actors.contract.records import RowKind
from actors.contract.span import Span
from actors.files.shards import read_folder, shard_files
from pipelines.alignment.preference import build_rows, shuffle_blocks, warm_up
from pipelines.cluster.session import embedded_ray, settle_ray_data
from pipelines.cluster.stream import stream
from pipelines.config.cluster import ClusterConfig
from pipelines.config.preference import PreferenceConfig
from pipelines.config.scores import ScoreTable
from tests.benchmarks.scale_actors import shard_tasks, stand_ins
from tests.benchmarks.scale_data import SAMPLES, write_judgments, write_prompts

GIB = 2**30
SEED = 7
KINDS: tuple[RowKind, ...] = ("unpaired", "pairs")


class HeapWatch:
    """The most heap of this process, and of it and all its descendants together, while it is open."""

    def __init__(self) -> None:
        self.driver_gib = self.all_gib = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> HeapWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def __str__(self) -> str:
        return f"heap of the driver {self.driver_gib:.2f} GiB, of all processes {self.all_gib:.2f} GiB"

    def _watch(self) -> None:
        this = psutil.Process()
        while True:
            own = _heap_bytes(this.pid)
            rest = sum(_heap_bytes(child.pid) for child in this.children(recursive=True))
            self.driver_gib = max(self.driver_gib, own / GIB)
            self.all_gib = max(self.all_gib, (own + rest) / GIB)
            if self._ended.wait(0.5):
                return


def _heap_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    # It ended.
    return 0


@contextlib.contextmanager
def two_cores(store_gib: float) -> Iterator[None]:
    with embedded_ray(ClusterConfig(object_store_gib=store_gib), "scale", 2):
        settle_ray_data()
        yield


def generators(asked: argparse.Namespace) -> None:
    """Throughput of more and more generators, each with as many shards, against that of one."""
    one = 0.0
    with two_cores(1), HeapWatch() as heap:
        for actors in asked.actors:
            with tempfile.TemporaryDirectory() as place:
                shards = actors * asked.shards
                prompts = write_prompts(Path(place, "prompts"), shards * asked.per_shard, asked.per_shard)
                pools = stand_ins(actors, 0, asked.seconds / asked.per_shard)
                began = time.perf_counter()
                report = stream(shard_tasks(prompts, Path(place), SAMPLES), pools.generators, ())
                wall = time.perf_counter() - began
                pools.close()
            total, all_busy = shards * asked.per_shard / wall, rows_s(report.generated) / SAMPLES
            one = one or all_busy
            print(
                f"{actors} generators: {all_busy:.1f} prompts/s while all had work, {all_busy / actors / one:.3f} of"
                f" linear; {total:.1f} prompts/s from the first to the last",
                flush=True,
            )
    print(heap, flush=True)


def rows_s(spans: Sequence[Span]) -> float:
    """Rows a second until the first of the workers found no shard left.

    A shard that is in work then counts by the part of its time that is over: one worker has none, sixty-four have many.
    """
    last: dict[int | None, float] = {}
    for span in spans:
        last[span.worker] = max(span.end_s, last.get(span.worker, 0.0))
    until = min(last.values())
    rows = sum(
        span.rows * min(1.0, (until - span.start_s) / (span.end_s - span.start_s))
        for span in spans
        if span.start_s < until
    )
    return rows / (until - min(span.start_s for span in spans))


def stream_prompts(asked: argparse.Namespace) -> None:
    """A stream of so many prompts through generators and judges that take no time themselves."""
    with tempfile.TemporaryDirectory() as place:
        prompts = write_prompts(Path(place, "prompts"), asked.prompts, asked.per_shard)
        with two_cores(1), HeapWatch() as heap:
            pools = stand_ins(asked.generators, asked.judges, 0.0)
            began = time.perf_counter()
            report = stream(shard_tasks(prompts, Path(place), 1), pools.generators, pools.judges)
            wall = time.perf_counter() - began
            pools.close()
    rows = sum(span.rows for span in report.judged)
    if rows != asked.prompts:
        raise SystemExit(f"{rows} of {asked.prompts} prompts came through.")
    print(f"{rows} prompts in {wall:.1f} s ({rows / wall:.0f}/s); {heap}", flush=True)


def rows(asked: argparse.Namespace) -> None:
    """Judgments to rows: the shuffle and the script in turns, and whether both gave the same rows."""
    kinds = [asked.kind] if asked.kind else KINDS
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        judgments = Path(place, "judgments")
        write_judgments(judgments, asked.judgments, asked.per_shard)
        took: dict[tuple[RowKind, str], list[float]] = {}
        for turn in range(asked.rounds):
            with two_cores(asked.store_gib), HeapWatch() as heap:
                warm_up(shuffle_blocks(len(shard_files(judgments)), asked.judgments, PreferenceConfig()))
                for kind in kinds:
                    output = Path(place, f"salus-{kind}-{turn}")
                    began = time.perf_counter()
                    report = build_rows(kind, [judgments], output, PreferenceConfig(), ScoreTable(), SEED)
                    took.setdefault((kind, "salus"), []).append(time.perf_counter() - began)
                    print(f"{kind}: {report.rows} rows in {took[kind, 'salus'][-1]:.1f} s", flush=True)
            print(heap, flush=True)
            for kind in () if asked.alone else kinds:
                output = Path(place, f"script-{kind}-{turn}")
                took.setdefault((kind, "script"), []).append(script_s(kind, judgments, output))
                same = same_rows(Path(place, f"salus-{kind}-{turn}"), output)
                print(f"{kind}: the script took {took[kind, 'script'][-1]:.1f} s; same rows: {same}", flush=True)
    for kind in () if asked.alone else kinds:
        salus, script = (statistics.median(took[kind, who]) for who in ("salus", "script"))
        print(f"{kind}: median {salus:.1f} s against {script:.1f} s, ratio {salus / script:.2f}", flush=True)


def script_s(kind: RowKind, judgments: Path, output: Path) -> float:
    """Seconds of the script, without the start of its process."""
    command = [sys.executable, "-m", "tests.benchmarks.scale_script", kind, str(judgments), str(output), str(SEED)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def same_rows(one: Path, other: Path) -> bool:
    """Whether two folders hold the same rows in the same order."""
    tables: list[pa.Table] = [read_folder(folder) for folder in (one, other)]
    return bool(tables[0].equals(tables[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    of = what.add_parser("generators", help="throughput of 1 to 64 generators")
    of.add_argument("--actors", type=int, nargs="+", default=[1, 4, 16, 64])
    of.add_argument("--seconds", type=float, default=8.0, help="that an engine takes for a shard")
    of.add_argument("--shards", type=int, default=8, help="of each generator")
    of.add_argument("--per-shard", type=int, default=75, help="prompts of a shard")
    of.set_defaults(act=generators)
    of = what.add_parser("stream", help="a long stream of prompts")
    of.add_argument("--prompts", type=int, default=1_000_000)
    of.add_argument("--per-shard", type=int, default=128, help="prompts of a shard")
    of.add_argument("--generators", type=int, default=4)
    of.add_argument("--judges", type=int, default=2)
    of.set_defaults(act=stream_prompts)
    of = what.add_parser("rows", help="judgments to training rows")
    of.add_argument("--judgments", type=int, default=1_000_000)
    of.add_argument("--per-shard", type=int, default=128, help="prompts of a shard, with four judgments each")
    of.add_argument("--rounds", type=int, default=1)
    of.add_argument("--kind", choices=KINDS, help="of the rows; both")
    of.add_argument("--alone", action="store_true", help="without the script, which holds all rows in memory")
    of.add_argument("--store-gib", type=float, default=4.0, help="size of Ray's object store")
    of.add_argument("--folder", help="for the files; the system's folder for temporary ones")
    of.set_defaults(act=rows)
    asked = parser.parse_args()
    asked.act(asked)


if __name__ == "__main__":
    main()
