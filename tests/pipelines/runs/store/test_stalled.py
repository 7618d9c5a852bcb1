"""A process that stands still at a write, is replaced, and wakes up: nothing of its successor's is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.open import hold_run
from pipelines.runs.store.connect import connect
from pipelines.runs.store.contents import KnownFiles, snapshot
from pipelines.runs.store.fetch import make_equal
from pipelines.runs.store.hold import hold_stored
from pipelines.runs.store.leases import FRESH_S
from pipelines.runs.store.place import RemotePlace
from tests.pipelines.runs.store import stalled
from tests.pipelines.runs.store.conftest import Move
from tests.pipelines.runs.store.stored import contents, demo, index_of, mirror_of, write
from tests.quiet_reporter import QuietReporter
from tests.root import ROOT

DECISION = "cycles/01/decision.json"
# Longer than what was seen of a lease is believed.
LEASE_S = FRESH_S + 0.5


@contextmanager
def standing_still(point: str, place: RemotePlace, cache: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that began a run at a place, on a machine with a cache of its own, and stands still at a write."""
    command = [sys.executable, "-m", "tests.pipelines.runs.store.stalled", point, "align", "demo", "--run", str(place)]
    command += ["--set", "judge.accept_unreliable=true"]
    environment = {**os.environ, "SALUS_CACHE": str(cache)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            end = time.monotonic() + 60
            while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "point",
    [stalled.INDEX, pytest.param(stalled.RECIPE, marks=pytest.mark.slow)],
    ids=["at the index", "at a file"],
)
def test_a_process_that_wakes_up_after_it_was_replaced_changes_nothing(
    place: RemotePlace, tmp_path: Path, move_to: Move, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("pipelines.runs.lease.lease._WATCHED_BEATS", 0.1)
    recipe = demo("judge.accept_unreliable=true")
    # Shorter than settings may have it.
    recipe = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"lease_s": LEASE_S})})
    with standing_still(point, place, tmp_path / "first") as first:
        time.sleep(LEASE_S + 0.5)
        move_to("b")
        with hold_run(recipe, place, QuietReporter()) as (folder, hold):
            write(folder.root, {DECISION: "of the second"})
            assert hold.store is not None
            hold.store.keep()
            before = index_of(place)
            first.send_signal(signal.SIGCONT)
            said, told = first.communicate(timeout=60)
            assert first.returncode == 2, told
            assert told.startswith(f"salus: {place} was taken over by process {os.getpid()} ") and told.count("\n") == 1
            assert "Traceback" not in said + told
            assert index_of(place) == before
            hold.check()
            kept = contents(folder.root)
    # Every object is as the second left it.
    index = index_of(place)
    assert index.revision == before.revision
    make_equal(connect(place), index, tmp_path / "back", KnownFiles(tmp_path / "back"))
    assert contents(tmp_path / "back") == kept and kept[DECISION] == "of the second"


def test_who_takes_a_run_up_shuts_the_one_before_out_before_it_writes_a_file(
    place: RemotePlace, tmp_path: Path, move_to: Move
) -> None:
    """Also where the one before wakes up first: what the next one has read of the run stays true."""
    with hold_stored(place, LEASE_S, lambda _: None, fresh=False) as held:
        write(held.working, {"recipe.yaml": "name: demo", "run.json": "{}"})
    # Of the process before, as it was when it stood still after its check.
    asleep = mirror_of(connect(place), tmp_path / "asleep")
    write(tmp_path / "asleep", {"recipe.yaml": "name: demo", DECISION: "of the first"})
    move_to("b")
    with hold_stored(place, LEASE_S, lambda _: None, fresh=False) as held:
        with pytest.raises(SalusError, match=f"{place} was written by another process since this one wrote there last"):
            asleep.push(snapshot(RunFolder(tmp_path / "asleep")))
        assert set(index_of(place).sums()) == {"recipe.yaml", "run.json"}
        write(held.working, {DECISION: "of the second"})
    make_equal(connect(place), index_of(place), tmp_path / "back", KnownFiles(tmp_path / "back"))
    assert contents(tmp_path / "back")[DECISION] == "of the second"
