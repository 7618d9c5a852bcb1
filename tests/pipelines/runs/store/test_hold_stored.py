"""A run at an address: begun, taken up on other machines, and held by one process at a time. Nothing starts Ray."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.alignment.align import align
from pipelines.runs.checksums import run_hash
from pipelines.runs.open import Hold, hold_run
from pipelines.runs.store.connect import connect
from pipelines.runs.store.contents import KnownFiles
from pipelines.runs.store.fetch import make_equal
from pipelines.runs.store.hold import hold_stored
from pipelines.runs.store.leases import FRESH_S, StoredLeases
from pipelines.runs.store.place import RemotePlace, working_folder
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import RunMaker, recipe
from tests.pipelines.runs.store.conftest import Move, reach
from tests.pipelines.runs.store.killed_upload import written
from tests.pipelines.runs.store.server import answering
from tests.pipelines.runs.store.stored import contents, demo, index_of, put_as_earlier, put_run, write
from tests.quiet_reporter import QuietReporter, SaidReporter
from tests.root import ROOT

ROLLOUTS = "cycles/01/rollouts/part-00000.parquet"
DECISION = "cycles/01/decision.json"


@contextmanager
def held(place: RemotePlace, fresh: bool = False, *changes: str) -> Iterator[tuple[RunFolder, Hold]]:
    with hold_run(demo(*changes), place, QuietReporter(), fresh) as found:
        yield found


def keep(hold: Hold) -> None:
    assert hold.store is not None
    hold.store.keep()


def test_a_run_goes_on_at_a_machine_that_never_saw_it(place: RemotePlace, move_to: Move) -> None:
    with held(place) as (folder, hold):
        assert folder.root == working_folder(place)
        write(folder.root, {ROLLOUTS: "answers", ".coordinator.json": "{}"})
        hold.check()
    first = contents(folder.root)
    assert set(first) == {"recipe.yaml", "run.json", ROLLOUTS}
    move_to("b")
    told = SaidReporter()
    with hold_run(demo(), place, told) as (folder, _):
        assert contents(folder.root) == first
        write(folder.root, {DECISION: "{}"})
    assert any(said.startswith(f"{place}: 3 of 3 files fetched into ") for said in told.said)
    # The first machine's copy is behind now, and has a file of its own that the run went on without.
    move_to("a")
    write(working_folder(place), {"cycles/01/judgments/part-00000.parquet": "left behind"})
    with held(place) as (folder, _):
        assert contents(folder.root) == first | {DECISION: "{}"}


def test_a_run_of_an_earlier_version_goes_on_at_another_machine(
    place: RemotePlace, move_to: Move, tmp_path: Path
) -> None:
    with held(RemotePlace("file", f"{tmp_path}/first")) as (folder, _):
        write(folder.root, {ROLLOUTS: "answers"})
    first = contents(folder.root)
    put_as_earlier(place, folder.root)
    move_to("b")
    with held(place) as (folder, _):
        assert contents(folder.root) == first
        # Nothing that an earlier version reads is left: it says that this is no run of its own.
        assert ".store.json" not in connect(place).list()
        write(folder.root, {DECISION: "{}"})
    move_to("c")
    with held(place) as (folder, _):
        assert contents(folder.root) == first | {DECISION: "{}"}


def test_what_was_not_uploaded_when_a_process_ended_is_there_when_its_machine_goes_on(
    place: RemotePlace, move_to: Move
) -> None:
    with pytest.raises(KeyboardInterrupt), held(place) as (folder, hold):
        write(folder.root, {ROLLOUTS: "answers"})
        keep(hold)
        write(folder.root, {DECISION: "{}"})
        raise KeyboardInterrupt
    assert DECISION not in index_of(place).sums()
    with held(place) as (folder, _):
        assert contents(folder.root)[DECISION] == "{}"
        assert DECISION in index_of(place).sums()


def test_a_working_folder_that_was_removed_is_no_word_of_the_run(place: RemotePlace, move_to: Move) -> None:
    with held(place) as (folder, _):
        write(folder.root, {ROLLOUTS: "answers"})
    for removed in (folder.root, folder.root.parent):
        shutil.rmtree(removed)
        with held(place) as (folder, _):
            assert contents(folder.root)[ROLLOUTS] == "answers"
    # Also where its hidden files stay.
    for path in folder.root.iterdir():
        if not path.name.startswith("."):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with held(place) as (folder, _):
        assert contents(folder.root)[ROLLOUTS] == "answers"


def test_fresh_forgets_what_the_store_holds_and_fetches_nothing(place: RemotePlace, move_to: Move) -> None:
    with held(place) as (folder, _):
        write(folder.root, {ROLLOUTS: "answers"})
    move_to("b")
    with held(place, True, "train.challengers.kto.beta=0.7") as (folder, _):
        assert set(contents(folder.root)) == {"recipe.yaml", "run.json"}
    assert set(index_of(place).sums()) == {"recipe.yaml", "run.json"}
    assert not any("rollouts" in name for name in connect(place).list())


def test_other_settings_are_refused_also_elsewhere(place: RemotePlace, move_to: Move) -> None:
    with held(place):
        pass
    move_to("b")
    with (
        pytest.raises(
            SalusError, match=rf"{place} holds a run made with other settings \(train\.challengers\.kto\.beta: "
        ),
        held(place, False, "train.challengers.kto.beta=0.7"),
    ):
        pass


def test_two_machines_cannot_work_on_one_run(place: RemotePlace, move_to: Move) -> None:
    with held(place) as (_, hold):
        move_to("b")
        with pytest.raises(SalusError, match=f"{place} is in use by process"), held(place):
            pass
        with pytest.raises(SalusError, match=f"{place} is in use by process"), held(place, True):
            pass
        assert not working_folder(place).exists()
        hold.check()
        keep(hold)


def test_who_lost_the_lease_in_the_store_writes_there_no_more(place: RemotePlace, move_to: Move) -> None:
    with pytest.raises(SalusError, match="was taken over by process 4711"), held(place) as (folder, hold):
        last = StoredLeases(connect(place)).last()
        assert last is not None and last.holder is not None
        theirs = last.holder.model_copy(update={"host": "node-7", "place": "elsewhere", "pid": 4711, "token": "f" * 32})
        assert StoredLeases(connect(place)).add(last.model_copy(update={"number": last.number + 1, "holder": theirs}))
        # Longer than what was seen of the lease is believed.
        time.sleep(FRESH_S + 0.5)
        write(folder.root, {DECISION: "{}"})
        keep(hold)
    assert DECISION not in index_of(place).sums()


def test_files_of_something_else_are_left_alone(place: RemotePlace, move_to: Move) -> None:
    connect(place).put("thesis.txt", b"precious")
    for fresh in (False, True):
        with pytest.raises(SalusError, match=f"{place} is not empty and is not a run of Salus"), held(place, fresh):
            pass
    assert list(connect(place).list()) == ["thesis.txt"]


def test_a_finished_run_is_known_for_one_on_every_machine(
    place: RemotePlace, move_to: Move, tmp_path: Path, made_run: RunMaker
) -> None:
    made = made_run(tmp_path / "made")
    put_run(made, place)
    move_to("b")
    told = SaidReporter()
    summary = align(recipe("judge.accept_unreliable=true"), place, told)
    assert summary.cycles[0].decision == "kto"
    assert f"{place} is complete; --fresh runs it anew." in told.said
    assert run_hash(RunFolder(working_folder(place))) == run_hash(made)


def test_a_killed_upload_leaves_nothing_that_is_taken_for_whole(s3: RemotePlace, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.pipelines.runs.store.killed_upload", str(s3)]
    cut_off = 0
    for delay_s in (0.0, 0.05, 0.1, 0.2, 0.4):
        # A folder each: what one left of a later generation would be in the first ones of the next.
        command = [*program, str(tmp_path / f"run-{delay_s:g}")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                while process.stdout.readline().strip() != "1":
                    assert process.poll() is None
                time.sleep(delay_s)
            finally:
                process.kill()
        index = index_of(s3)
        # What the index names is there, and of one moment: one generation, and no file more or less.
        make_equal(connect(s3), index, tmp_path / "back", KnownFiles(tmp_path / "back"))
        found = contents(tmp_path / "back")
        assert any(found == written(generation) for generation in range(len(found)))
        own = {name for name in connect(s3).list() if name.partition("/")[0].isdecimal()}
        cut_off += bool(own - index.object_names())
        if cut_off and delay_s:
            break
    assert cut_off
    # Who takes the run up removes what was cut off, and only that.
    with hold_stored(s3, 60, lambda _: None, fresh=False) as held_run:
        assert contents(held_run.working) == found
        own = {name for name in connect(s3).list() if name.partition("/")[0].isdecimal()}
        assert own == index_of(s3).object_names()


def test_credentials_that_are_refused(
    monkeypatch: pytest.MonkeyPatch, move_to: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(lambda _: (403, b"")) as url:
        reach(monkeypatch, url)
        said = refused(capsys, *ALIGN, "s3://bucket/run")
    assert "Cannot reach s3://bucket/run" in said and "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said


ALIGN = ("align", "demo", "--set", "judge.accept_unreliable=true", "--run")


def test_a_bucket_that_is_missing_is_named(s3: RemotePlace, move_to: Move, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no bucket nowhere-42 for s3://nowhere-42/run; make it" in refused(
        capsys, *ALIGN, "s3://nowhere-42/run"
    )
    assert "is a whole bucket; name a folder in it" in refused(capsys, *ALIGN, f"s3://{s3.bucket}")


def test_an_endpoint_nobody_answers_at(
    monkeypatch: pytest.MonkeyPatch, move_to: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reach(monkeypatch, f"http://127.0.0.1:{port}")
    said = refused(capsys, *ALIGN, "s3://bucket/run")
    assert re.search("Cannot reach s3://bucket/run .*; see whether the network and the endpoint", said)
    reach(monkeypatch, "localhost:9000/bucket")
    assert "AWS_ENDPOINT_URL is not the URL of a server" in refused(capsys, *ALIGN, "s3://bucket/run")


def test_commands_that_need_a_folder_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "A study needs a local folder" in refused(capsys, "study", "study", "--run", "s3://bucket/study")
    assert "needs a local folder" in refused(capsys, "policy", "register", "s3://bucket/run")
