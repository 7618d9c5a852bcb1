"""A folder's way into a store: what goes, in which order, and what an end at any point leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from actors.errors import SalusError
from actors.run_folder import RunFolder
from pipelines.store.connect import connect
from pipelines.store.contents import KnownFiles, snapshot
from pipelines.store.fetch import make_equal
from pipelines.store.index import INDEX, read_index
from pipelines.store.mirror import Mirror
from pipelines.store.objects import Objects
from pipelines.store.place import RemotePlace
from pipelines.store.uploads import Uploads
from tests.pipelines.store.stored import CutOff, contents, index_of, mirror_of, write

FIRST = {"recipe.yaml": "name: demo", "run.json": "{}", "cycles/01/rollouts/part-00000.parquet": "answers"}
# One file stays, one is written over, one is gone, one is new.
SECOND = {"recipe.yaml": "name: demo", "run.json": '{"wall_s": 1}', "cycles/01/decision.json": "{}"}
APART = {"ray_train/state": "x", ".coordinator.json": "{}", "cycles/01/kto/.work/rows.arrow": "half"}
APART |= {"cycles/01/.decision.json.7.tmp": "half"}


def push(objects: Objects, root: Path) -> None:
    mirror_of(objects, root).push(snapshot(RunFolder(root)))


def second(root: Path) -> None:
    write(root, SECOND)
    (root / "cycles/01/rollouts/part-00000.parquet").unlink()


def fetched(place: RemotePlace, root: Path) -> dict[str, str]:
    """The run as an empty folder gets it."""
    make_equal(connect(place), index_of(place), root, KnownFiles(root))
    return contents(root)


def test_a_run_is_stored_under_its_own_names_and_read_back(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST | APART)
    push(connect(place), tmp_path / "run")
    assert sorted(connect(place).listed()) == sorted([*FIRST, INDEX])
    assert fetched(place, tmp_path / "back") == FIRST
    second(tmp_path / "run")
    push(connect(place), tmp_path / "run")
    assert sorted(connect(place).listed()) == sorted([*SECOND, INDEX])
    assert not index_of(place).coming
    # What the folder has beside it is not the run's.
    assert fetched(place, tmp_path / "back") == SECOND


def test_what_did_not_change_is_not_sent_again(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    objects = connect(place)
    mirror = mirror_of(objects, tmp_path / "run")
    mirror.push(snapshot(RunFolder(tmp_path / "run")))
    before = objects.listed()
    mirror.push(snapshot(RunFolder(tmp_path / "run")))
    assert objects.listed() == before


@pytest.mark.parametrize("answers", range(7))
def test_an_end_at_any_point_leaves_a_run_and_the_next_push_mends_it(tmp_path: Path, answers: int) -> None:
    place = RemotePlace("file", f"{tmp_path}/share/run")
    write(tmp_path / "run", FIRST)
    push(connect(place), tmp_path / "run")
    second(tmp_path / "run")
    objects = connect(place)
    cut = CutOff(place, objects.files, answers)
    # Two indices, one removal, two uploads.
    if answers < 5:
        with pytest.raises(OSError, match="the line is cut"):
            push(cut, tmp_path / "run")
    else:
        push(cut, tmp_path / "run")
    found = fetched(place, tmp_path / "elsewhere")
    assert found["recipe.yaml"] == FIRST["recipe.yaml"]
    assert found["run.json"] in (FIRST["run.json"], SECOND["run.json"])
    assert found.get("cycles/01/decision.json") == (None if answers < 5 else "{}")
    push(connect(place), tmp_path / "run")
    assert fetched(place, tmp_path / "elsewhere") == SECOND
    assert not index_of(place).coming


def test_an_end_before_the_first_index_leaves_no_run(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    with pytest.raises(OSError, match="the line is cut"):
        push(CutOff(place, connect(place).files, 3), tmp_path / "run")
    assert sorted(connect(place).listed()) == sorted(FIRST)
    assert read_index(connect(place)) is None


def test_a_file_that_was_cut_off_twice_may_be_any_of_its_three(tmp_path: Path) -> None:
    place = RemotePlace("file", f"{tmp_path}/share/run")
    texts = ["one", "two", "three"]
    for text, answers in zip(texts, (99, 2, 1), strict=True):
        write(tmp_path / "run", {"run.json": text})
        cut = CutOff(place, connect(place).files, answers)
        try:
            push(cut, tmp_path / "run")
        except OSError:
            assert text != "one"
    # The index before the third upload is there, and the second upload.
    assert connect(place).read("run.json") == b"two"
    assert len(index_of(place).sums()["run.json"]) == 3
    assert fetched(place, tmp_path / "elsewhere") == {"run.json": "two"}


def test_another_holder_stops_it_before_it_writes(place: RemotePlace, tmp_path: Path) -> None:
    def lost() -> None:
        raise SalusError("taken over")

    write(tmp_path / "run", FIRST)
    push(connect(place), tmp_path / "run")
    second(tmp_path / "run")
    mirror = Mirror(connect(place), index_of(place), tmp_path / "run", KnownFiles(tmp_path / "run"), lost)
    with pytest.raises(SalusError, match="taken over"):
        mirror.push(snapshot(RunFolder(tmp_path / "run")))
    assert fetched(place, tmp_path / "elsewhere") == FIRST


def test_a_file_written_after_the_snapshot_keeps_its_content_in_the_store(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    push(connect(place), tmp_path / "run")
    there = snapshot(RunFolder(tmp_path / "run"))
    write(tmp_path / "run", {"run.json": "half of somethi"})
    mirror_of(connect(place), tmp_path / "run").push(there)
    assert fetched(place, tmp_path / "elsewhere") == FIRST


def test_a_changed_or_missing_object_is_named(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    push(connect(place), tmp_path / "run")
    connect(place).write("run.json", b"{} ")
    with pytest.raises(SalusError, match=f"{place}/run.json is not what the run left there"):
        fetched(place, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "run.json").exists()
    connect(place).remove(["run.json"])
    with pytest.raises(SalusError, match=f"{place}/run.json is gone"):
        fetched(place, tmp_path / "elsewhere")


def test_uploads_wait_for_a_store_that_comes_back(tmp_path: Path) -> None:
    place, told = RemotePlace("file", f"{tmp_path}/share/run"), list[str]()
    write(tmp_path / "run", FIRST)
    cut = CutOff(place, connect(place).files, 1)
    folder = RunFolder(tmp_path / "run")
    uploads = Uploads(place, folder, mirror_of(cut, folder.root), told.append, waits_s=(0.2, 30.0))
    threading.Timer(0.05, lambda: setattr(cut, "left", 99)).start()
    with uploads.open():
        uploads.keep()
        assert fetched(place, tmp_path / "elsewhere") == FIRST
    assert told and "did not take the run's files (the line is cut); trying again in 0.2 s" in told[0]


def test_a_store_that_stays_away_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    place = RemotePlace("file", f"{tmp_path}/share/run")
    write(tmp_path / "run", FIRST)
    folder = RunFolder(tmp_path / "run")
    mirror = mirror_of(CutOff(place, connect(place).files, 0), folder.root)
    uploads = Uploads(place, folder, mirror, lambda _: None, waits_s=(0.01,))
    with (
        pytest.raises(SalusError, match=r"\(the line is cut\); the files lie in .*: the same command goes on"),
        uploads.open(),
    ):
        pass


def test_notes_go_up_in_the_background_and_work_that_failed_is_not_kept(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    folder = RunFolder(tmp_path / "run")
    uploads = Uploads(place, folder, mirror_of(connect(place), folder.root), lambda _: None, every_s=0)
    with pytest.raises(KeyboardInterrupt), uploads.open():
        uploads.note()
        second(folder.root)
        raise KeyboardInterrupt
    # Cancelled, or of the moment of the note.
    index = read_index(connect(place))
    assert index is None or {file.name for file in index.files} <= FIRST.keys()
