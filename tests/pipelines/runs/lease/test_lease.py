"""Leases: taken, refused, given back, taken over and lost; by threads and by real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from pipelines.alignment.cycle import leased_stage
from pipelines.alignment.run import Run
from pipelines.cluster.pools import Pools
from pipelines.cluster.times import StageClock
from pipelines.config.load import load_recipe
from pipelines.runs.lease.files import FOLDER, LeaseFiles, LeaseRecord
from pipelines.runs.lease.lease import Lease, hold
from pipelines.runs.lease.process import Holder, this_process
from pipelines.runs.materials import Materials
from tests.pipelines.finished import BASE
from tests.power_cut import recorded
from tests.quiet_reporter import QuietReporter
from tests.root import ROOT
from tests.small_disk import fill, small_disk

LIMIT_S = 30.0
BEAT_S = 0.02
ELSEWHERE = Holder(host="node-7", place="another boot", pid=4711, started_s=12.5, token="theirs")
# This process' number, when it was another's.
ENDED = this_process().model_copy(update={"started_s": 1.0})
# Takes the lease of a folder once a file is there, says so, and keeps it until its input ends.
TAKER = """
import sys, time
from pathlib import Path
from actors.errors import SalusError
from pipelines.runs.lease.lease import hold
root, go = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
try:
    with hold(root, 30.0, lambda sentence: None, 0.05) as lease:
        print("won", flush=True)
        sys.stdin.read()
        lease.check()
except SalusError as error:
    print(error.sentence, flush=True)
"""


def quiet(sentence: str) -> None:
    """Nobody is told."""


def take(root: Path, say: Callable[[str], None] = quiet) -> None:
    """Take a lease and give it back."""
    with hold(root, LIMIT_S, say, BEAT_S):
        pass


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / FOLDER).iterdir())


def lease_of(age_s: float, holder: Holder = ELSEWHERE, number: int = 3) -> LeaseRecord:
    """A lease that was not given back, and beat `age_s` ago."""
    beat = datetime.now(UTC) - timedelta(seconds=age_s)
    return LeaseRecord(number=number, holder=holder, taken_at=beat, beat_at=beat)


def leave(root: Path, record: LeaseRecord) -> None:
    LeaseFiles(root).write(record)


def last(root: Path) -> LeaseRecord:
    record = LeaseFiles(root).last()
    assert record is not None
    return record


def soon(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def taker(root: Path, go: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TAKER, str(root), str(go)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lease_beats_and_is_given_back(tmp_path: Path) -> None:
    with hold(tmp_path / "new", LIMIT_S, quiet, BEAT_S) as lease:
        first = last(tmp_path / "new")
        assert first.holder is not None and first.holder.pid == os.getpid()
        assert soon(lambda: last(tmp_path / "new").beat_at > first.beat_at)
        assert last(tmp_path / "new").taken_at == first.taken_at
        assert not lease.lost
        lease.check()
    assert last(tmp_path / "new").given_back
    take(tmp_path / "new")
    assert names(tmp_path / "new") == ["2.json"]


def test_a_lease_is_given_back_however_the_work_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path, LIMIT_S, quiet, BEAT_S):
        raise KeyboardInterrupt
    assert last(tmp_path).given_back


def test_a_second_start_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with hold(tmp_path, LIMIT_S, quiet, BEAT_S) as lease:
        taken = last(tmp_path)
        with pytest.raises(SalusError) as refused:
            take(tmp_path)
        assert not lease.lost
    assert taken.holder is not None
    said = refused.value.sentence
    assert said.startswith(f"{tmp_path} is in use by process {os.getpid()} on host {taken.holder.host}, since ")
    assert f"since {taken.taken_at:%Y-%m-%d %H:%M:%S} UTC" in said
    assert said.endswith("Wait for its end, stop it and run the same command again, or give another folder with --run.")


def test_a_young_lease_of_another_host_is_refused(tmp_path: Path) -> None:
    leave(tmp_path, lease_of(LIMIT_S - 5))
    with pytest.raises(SalusError, match="in use by process 4711 on host node-7"):
        take(tmp_path)


@pytest.mark.parametrize("age_s", [LIMIT_S + 5, -3600.0])
def test_a_lease_without_sign_of_life_is_watched_and_taken_over(tmp_path: Path, age_s: float) -> None:
    leave(tmp_path, lease_of(age_s))
    said: list[str] = []
    take(tmp_path, said.append)
    assert said[0].startswith("last sign of life of process 4711 on host node-7")
    assert said[1].startswith(f"took over {tmp_path} from process 4711")
    assert names(tmp_path) == ["4.json"]


@pytest.mark.parametrize("beat_age_s", [0.0, 7200.0])
def test_what_beats_while_it_is_watched_is_alive_whatever_its_clock_says(tmp_path: Path, beat_age_s: float) -> None:
    leave(tmp_path, lease_of(3 * 3600))
    # It is told just before it watches.
    with pytest.raises(SalusError, match="in use by process 4711"):
        take(tmp_path, lambda sentence: leave(tmp_path, lease_of(beat_age_s)))


def test_what_is_given_back_while_it_is_watched_is_free(tmp_path: Path) -> None:
    old = lease_of(LIMIT_S + 5)
    leave(tmp_path, old)
    said: list[str] = []

    def give_back(sentence: str) -> None:
        said.append(sentence)
        leave(tmp_path, old.model_copy(update={"given_back": True}))

    take(tmp_path, give_back)
    # Nothing was taken from anybody.
    assert len(said) == 1
    assert names(tmp_path) == ["4.json"]


def test_a_killed_process_frees_its_lease_at_once(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    process = taker(tmp_path / "run", go)
    try:
        assert (line(process), line(process)) == ("ready", "won")
        with pytest.raises(SalusError, match=f"in use by process {process.pid} on host"):
            take(tmp_path / "run")
    finally:
        process.kill()
        process.communicate()
    assert datetime.now(UTC) - last(tmp_path / "run").beat_at < timedelta(seconds=LIMIT_S)
    said: list[str] = []
    take(tmp_path / "run", said.append)
    (sentence,) = said
    assert sentence.startswith(f"took over {tmp_path / 'run'} from process {process.pid}")


def test_of_several_processes_that_find_a_dead_lease_one_gets_it(tmp_path: Path) -> None:
    leave(tmp_path / "run", lease_of(0.0, ENDED))
    processes = [taker(tmp_path / "run", tmp_path / "go") for _ in range(3)]
    try:
        assert [line(process) for process in processes] == ["ready"] * 3
        (tmp_path / "go").touch()
        said = [line(process) for process in processes]
    finally:
        for process in processes:
            process.communicate()
    winner = processes[said.index("won")]
    losers = [sentence for sentence in said if sentence != "won"]
    assert len(losers) == 2 and all(f"in use by process {winner.pid} " in sentence for sentence in losers)


def test_of_many_threads_one_gets_a_dead_lease_each_time(tmp_path: Path) -> None:
    for turn in range(25):
        root = tmp_path / str(turn)
        leave(root, lease_of(0.0, ENDED))
        barrier, won = threading.Barrier(6), list[Lease]()

        def start(root: Path = root, barrier: threading.Barrier = barrier, won: list[Lease] = won) -> None:
            barrier.wait()
            try:
                with hold(root, LIMIT_S, quiet, BEAT_S) as lease:
                    won.append(lease)
                    barrier.wait()
                    lease.check()
            except SalusError:
                barrier.wait()

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert len(won) == 1 and names(root) == ["4.json"]


def test_who_looked_long_ago_and_creates_a_number_of_the_past_has_lost(tmp_path: Path) -> None:
    leave(tmp_path, lease_of(0.0, number=7))
    assert not LeaseFiles(tmp_path).add(lease_of(0.0, this_process(), number=5))
    assert names(tmp_path) == ["7.json"]


def test_a_lost_lease_is_noticed_and_not_written_again(tmp_path: Path) -> None:
    with hold(tmp_path, LIMIT_S, quiet, BEAT_S) as lease:
        heart = next(thread for thread in threading.enumerate() if thread.name == "lease")
        theirs = last(tmp_path).model_copy(update={"number": 2, "holder": ELSEWHERE})
        assert LeaseFiles(tmp_path).add(theirs)
        # By the beat itself, before anybody asks.
        assert soon(lambda: not heart.is_alive())
        assert lease.lost
        with pytest.raises(SalusError, match=r"was taken over by process 4711 on host node-7 at .*cluster\.lease_s"):
            lease.check()
    assert last(tmp_path) == theirs


def test_a_stopped_process_that_wakes_up_after_a_takeover_has_lost(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    process = taker(tmp_path / "run", go)
    try:
        assert (line(process), line(process)) == ("ready", "won")
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        with hold(tmp_path / "run", 0.2, quiet, BEAT_S) as lease:
            process.send_signal(signal.SIGCONT)
            said, _ = process.communicate()
            lease.check()
        assert f"was taken over by process {os.getpid()} " in said
    finally:
        process.kill()
        process.communicate()


def test_a_lease_removed_by_hand_is_lost(tmp_path: Path) -> None:
    with hold(tmp_path, LIMIT_S, quiet, BEAT_S) as lease:
        (tmp_path / FOLDER / "1.json").unlink()
        with pytest.raises(SalusError, match="was removed, so this process stops"):
            lease.check()
    assert names(tmp_path) == []


def test_a_lease_that_cannot_be_read_counts_by_its_files_time(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / "1.json"
    path.parent.mkdir()
    path.write_text('{"number": 1, "hol')
    with pytest.raises(SalusError, match="in use by a process that left no readable lease"):
        take(tmp_path)
    old = time.time() - LIMIT_S - 5
    os.utime(path, (old, old))
    take(tmp_path)
    assert names(tmp_path) == ["2.json"]


def test_a_number_changed_by_hand_does_not_count(tmp_path: Path) -> None:
    leave(tmp_path, lease_of(LIMIT_S + 5, number=3))
    (tmp_path / FOLDER / "3.json").rename(tmp_path / FOLDER / "9.json")
    take(tmp_path)
    assert names(tmp_path) == ["10.json"]


def test_what_a_killed_process_was_writing_is_swept_up(tmp_path: Path) -> None:
    leave(tmp_path, lease_of(LIMIT_S + 5))
    (tmp_path / FOLDER / ".3.json.77.tmp").touch()
    take(tmp_path)
    assert names(tmp_path) == ["4.json"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SalusError, match=r"Cannot take the lease of .*file.* \(Not a directory\)"):
        take(tmp_path / "file")


def test_a_full_disk_is_named_and_keeps_nobody_out(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=64) as root:
        fill(root / "ballast")
        with pytest.raises(FullDiskError, match=r"The disk of .*/disk/\.lease is full"), hold(root, LIMIT_S, quiet):
            pass
        (root / "ballast").unlink()
        with hold(root, LIMIT_S, quiet, BEAT_S) as lease:
            fill(root / "ballast")
            time.sleep(5 * BEAT_S)
            # It cannot beat, and is nobody else's for that.
            lease.check()
            (root / "ballast").unlink()


def test_no_stage_begins_once_the_lease_is_lost(tmp_path: Path) -> None:
    recipe = load_recipe("demo", [])
    clock = StageClock(1)
    begun: list[str] = []
    with hold(tmp_path, LIMIT_S, quiet, BEAT_S) as lease:
        materials = Materials(policy=BASE, judge=None)
        run = Run(recipe, RunFolder(tmp_path), materials, Pools((), ()), None, QuietReporter(), lease.check)
        with leased_stage(run, clock, "rollout"):
            begun.append("rollout")
        LeaseFiles(tmp_path).add(last(tmp_path).model_copy(update={"number": 2, "holder": ELSEWHERE}))
        with pytest.raises(SalusError, match="taken over"), leased_stage(run, clock, "decide"):
            begun.append("decide")
    assert begun == [stage.stage for stage in clock.times().stages] == ["rollout"]


def test_a_lease_that_a_power_cut_tore_keeps_no_one_out_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    first = LeaseRecord(number=1, holder=this_process(), taken_at=now, beat_at=now)
    with recorded(tmp_path, monkeypatch) as tape:
        assert LeaseFiles(tmp_path).add(first)
        tape.acknowledge(first)
        LeaseFiles(tmp_path).write(first.model_copy(update={"given_back": True}))
        tape.acknowledge(first)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for done in tape.crashes():
        last = LeaseFiles(tmp_path).last()
        assert last is None or last.holder in (None, first.holder)
        assert last is None or last.holder is not None or not done
        assert (last is not None) >= bool(done) and (len(done) < 2 or (last is not None and last.given_back))
        assert LeaseFiles(tmp_path).add(first.model_copy(update={"number": 2}))
