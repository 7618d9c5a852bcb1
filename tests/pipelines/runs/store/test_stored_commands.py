"""The commands that read runs, on runs at an address: what they say is what they say of the folder itself."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.main import app
from pipelines.cli.serve import champion_of
from pipelines.runs.checksums import run_hash
from pipelines.runs.finished.find import bytes_of
from pipelines.runs.lease.lease import hold_lease
from pipelines.runs.store.connect import connect
from pipelines.runs.store.contents import KnownFiles, snapshot
from pipelines.runs.store.fetch import make_equal
from pipelines.runs.store.index import StoredFile
from pipelines.runs.store.leases import StoredLeases
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import RemotePlace
from pipelines.runs.store.reading import readable
from tests.pipelines.cli.refused import refused
from tests.pipelines.report.timeline.timed import timed_run
from tests.pipelines.runs.finished.made import LOST, WON, RunMaker, lines, recipe
from tests.pipelines.runs.store.conftest import Move
from tests.pipelines.runs.store.stored import index_of, mirror_of, object_of, put_as_earlier, put_run, write


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output or result.exception
    return result.output


@pytest.fixture
def stored(place: RemotePlace, tmp_path: Path, made_run: RunMaker, move_to: Move) -> RunFolder:
    """A finished run, and the same in a store under its name."""
    folder = made_run(tmp_path / place.name)
    put_run(folder, place)
    return folder


def parent(place: RemotePlace) -> str:
    return str(place).rpartition("/")[0]


def test_runs_below_an_address_are_listed(place: RemotePlace, stored: RunFolder, tmp_path: Path) -> None:
    connect(RemotePlace(place.scheme, place.path.rpartition("/")[0])).put("notes/x.txt", b"")
    line = lines(said("runs", "list", parent(place)))
    assert "demo-s7 demo, 7 1/1 c1-kto 0.500 ->" in line
    hash_of = run_hash(stored)
    assert hash_of is not None and hash_of[:8] in line
    assert "demo-s7 demo, 7 1/1" in lines(said("runs", "list", str(place)))
    assert lines(said("runs", "list", f"{parent(place)}/notes")).startswith("No runs in ")


def test_one_is_audited_as_its_folder_is(place: RemotePlace, stored: RunFolder) -> None:
    assert lines(said("runs", "audit", str(place))) == lines(said("runs", "audit", str(stored.root)))


def test_one_is_shown_as_its_folder_is(place: RemotePlace, stored: RunFolder) -> None:
    there, here = said("runs", "show", str(place)), said("runs", "show", str(stored.root))
    assert str(place) in "".join(there.split())
    # But for where it lies, the same.
    assert lines(there).partition(" recipe ")[2] == lines(here).partition(" recipe ")[2]
    assert said("status", str(place)) == said("status", str(stored.root))


def test_of_shards_and_weights_only_the_size_is_fetched(place: RemotePlace, stored: RunFolder) -> None:
    with readable(str(place)) as (root, view):
        assert view is not None
        assert (root / "recipe.yaml").read_bytes() == stored.recipe.read_bytes()
        weights = root / WON / "model.safetensors"
        assert weights.stat().st_size == (stored.root / WON / "model.safetensors").stat().st_size
        assert not any(weights.read_bytes())
        assert bytes_of(root) == sum(file.bytes for file in view.index.files)
        view.fetch_below(root / WON)
        assert weights.read_bytes() == (stored.root / WON / "model.safetensors").read_bytes()
    assert not root.exists()


def test_the_champion_is_fetched_to_be_served(place: RemotePlace, stored: RunFolder) -> None:
    with champion_of(recipe(), str(place)) as policy:
        assert policy.version == "c1-kto"
        weights = Path(policy.path) / "model.safetensors"
        assert weights.read_bytes() == (stored.root / WON / weights.name).read_bytes()
    assert not weights.exists()


def test_an_intact_run_verifies_and_a_changed_object_is_found(
    place: RemotePlace, stored: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"run hash {run_hash(stored)}" in lines(said("runs", "verify", str(place)))
    weights = f"{WON}/model.safetensors"
    connect(place).put(object_of(place, weights), b"weights of another kto")
    assert f"{place} is not what its run left (changed: {weights})" in refused(capsys, "runs", "verify", str(place))
    connect(place).delete([object_of(place, weights)])
    assert f"missing: {weights}" in refused(capsys, "runs", "verify", str(place))
    summary = object_of(place, "summary.json")
    connect(place).put(summary, b"{}")
    assert f"{place}/{summary} is not what the run left there" in refused(capsys, "runs", "verify", str(place))


def test_two_runs_are_compared_wherever_they_lie(place: RemotePlace, stored: RunFolder, tmp_path: Path) -> None:
    assert "The runs made the same." in said("runs", "diff", str(place), str(stored.root), "--exit-code")
    # One that is not finished is compared by its files.
    stored.sums.unlink()
    write(stored.root, {f"{WON}/model.safetensors": "others"})
    other = RemotePlace("file", f"{tmp_path}/other/run")
    put_run(stored, other)
    assert f"The runs part at {WON}" in lines(said("runs", "diff", str(place), str(other)))


def test_garbage_is_collected_in_the_store(
    place: RemotePlace, stored: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = CliRunner().invoke(app, ["runs", "gc", parent(place)], input="n\n")
    assert asked.exit_code == 1 and LOST in asked.output
    lost = object_of(place, f"{LOST}/model.safetensors")
    assert lost in connect(place).list()
    said("runs", "gc", parent(place), "--yes")
    there, names = connect(place).list(), index_of(place).sums()
    assert lost not in there and f"{LOST}/model.safetensors" not in names
    assert f"{WON}/model.safetensors" in names and "gc.json" in names
    assert index_of(place).object_names() == {name for name in there if not name.startswith(".")}
    assert "2 of them removed since by salus runs gc" in lines(said("runs", "verify", str(place)))
    assert "Nothing to remove." in said("runs", "gc", str(place), "--yes")


def test_one_damaged_run_hides_no_other(place: RemotePlace, stored: RunFolder) -> None:
    other = RemotePlace(place.scheme, f"{place.path.rpartition('/')[0]}/other")
    put_run(stored, other)
    connect(other).put(object_of(other, "summary.json"), b"{}")
    lost = f"{LOST}/model.safetensors"
    listed = lines(said("runs", "list", parent(place)))
    assert "demo-s7 demo, 7 1/1 c1-kto" in listed and "other unreadable" in listed
    assert ".json is not what the run left there" in listed
    assert ".json is not what the run left there" in lines(said("runs", "gc", parent(place), "--yes"))
    assert lost not in index_of(place).sums()
    assert object_of(other, lost) in connect(other).list()


def test_a_run_somebody_holds_is_left_alone(
    place: RemotePlace, stored: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold_lease(StoredLeases(connect(place)), 60, print):
        assert f"{place} is left alone: process" in refused(capsys, "runs", "gc", str(place), "--yes")
        assert "is left alone" in said("runs", "gc", parent(place), "--yes")


def test_a_run_that_goes_on_can_be_looked_at(s3: RemotePlace, tmp_path: Path, move_to: Move) -> None:
    working, stop = tmp_path / "run", threading.Event()
    write(working, {"recipe.yaml": "name: demo", "run.json": "{}"})
    mirror = mirror_of(connect(s3), working)
    mirror.push(snapshot(RunFolder(working)))

    def go_on() -> None:
        for length in itertools.cycle((10, 1000, 1, 100)):
            if stop.is_set():
                return
            write(working, {"run.json": "x" * length})
            mirror.push(snapshot(RunFolder(working)))
            time.sleep(0.2)

    with ThreadPoolExecutor(1) as threads:
        writer = threads.submit(go_on)
        try:
            for _ in range(10):
                with readable(str(s3)) as (root, _):
                    assert set((root / "run.json").read_text()) <= set("x{}")
        finally:
            stop.set()
        writer.result()


def test_what_an_earlier_version_writes_over_meanwhile_is_read_again(
    place: RemotePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = tmp_path / "run"
    write(working, {"run.json": "{}"})
    # The writer has said what comes, sent it, and not yet said that it is there.
    coming = StoredFile(name="run.json", bytes=4, sha256=hashlib.sha256(b"long").hexdigest())
    put_as_earlier(place, working, (coming,))
    connect(place).put("run.json", b"long")
    whole, torn = Objects.download, iter([b"lo"])

    def download(self: Objects, name: str, target: Path) -> str:
        if (part := next(torn, None)) is None:
            return whole(self, name, target)
        target.write_bytes(part)
        return hashlib.sha256(part).hexdigest()

    monkeypatch.setattr(Objects, "download", download)
    with readable(str(place)) as (root, _):
        assert (root / "run.json").read_text() == "long"
    # Where nobody says that he writes, it is damage.
    put_as_earlier(place, working)
    connect(place).put("run.json", b"long")
    with pytest.raises(SalusError, match=r"run\.json is not what the run left there"), readable(str(place)):
        pass


def test_what_is_removed_while_it_is_read_is_read_again(
    place: RemotePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working = tmp_path / "run"
    write(working, {"run.json": "{}"})
    mirror = mirror_of(connect(place), working)
    mirror.push(snapshot(RunFolder(working)))
    whole, later = Objects.download, iter(["later"])

    def download(self: Objects, name: str, target: Path) -> str:
        # The run goes on once, between its index and its file.
        if (text := next(later, None)) is not None:
            write(working, {"run.json": text})
            mirror.push(snapshot(RunFolder(working)))
        return whole(self, name, target)

    monkeypatch.setattr(Objects, "download", download)
    with readable(str(place)) as (root, _):
        assert (root / "run.json").read_text() == "later"
    # Where no other index says so, it is damage.
    connect(place).delete([object_of(place, "run.json")])
    with pytest.raises(SalusError, match=r"run\..*\.json is gone"):
        make_equal(connect(place), index_of(place), tmp_path / "back", KnownFiles(tmp_path / "back"))


def test_a_timeline_is_drawn_here(
    place: RemotePlace, tmp_path: Path, move_to: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_run(timed_run(tmp_path / "demo-s7"), place)
    monkeypatch.chdir(tmp_path)
    assert "final test" in said("runs", "timeline", str(place))
    assert (tmp_path / "runs" / "demo-s7-timeline" / "timeline.png").is_file()


def test_what_is_no_run_is_called_by_its_address(
    place: RemotePlace, move_to: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (("status",), ("runs", "show"), ("runs", "verify"), ("runs", "timeline")):
        assert f"{place} is not a run of Salus" in refused(capsys, *command, str(place))


def test_a_run_without_sums_is_called_by_its_address(
    place: RemotePlace, stored: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.sums.unlink()
    other = RemotePlace("file", f"{tmp_path}/other/run")
    put_run(stored, other)
    assert f"{other} holds no SHA256SUMS" in refused(capsys, "runs", "verify", str(other))
