"""A folder's way into a store: what goes, in which order, and what an end at any point leaves."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.store.connect import connect
from pipelines.runs.store.contents import KnownFiles, snapshot
from pipelines.runs.store.fetch import make_equal
from pipelines.runs.store.index import INDICES, StoredFile, StoreIndex, add_index, read_index
from pipelines.runs.store.mirror import Mirror
from pipelines.runs.store.objects import Objects, Version
from pipelines.runs.store.place import RemotePlace
from pipelines.runs.store.uploads import Uploads
from tests.pipelines.runs.store.stored import CutOff, contents, index_of, mirror_of, object_of, put_as_earlier, write

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
    assert set(connect(place).list()) == {*index_of(place).object_names(), f"{INDICES}/1.json"}
    assert fetched(place, tmp_path / "back") == FIRST
    second(tmp_path / "run")
    push(connect(place), tmp_path / "run")
    assert set(connect(place).list()) == {*index_of(place).object_names(), f"{INDICES}/2.json"}
    # What the folder has beside it is not the run's.
    assert fetched(place, tmp_path / "back") == SECOND


def test_what_did_not_change_is_not_sent_again(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    objects = connect(place)
    mirror = mirror_of(objects, tmp_path / "run")
    mirror.push(snapshot(RunFolder(tmp_path / "run")))
    before = objects.list()
    mirror.push(snapshot(RunFolder(tmp_path / "run")))
    assert objects.list() == before


@pytest.mark.parametrize("answers", range(5))
def test_an_end_at_any_point_leaves_a_run_and_the_next_push_mends_it(tmp_path: Path, answers: int) -> None:
    place = RemotePlace("file", f"{tmp_path}/share/run")
    write(tmp_path / "run", FIRST)
    push(connect(place), tmp_path / "run")
    second(tmp_path / "run")
    objects = connect(place)
    cut = CutOff(place, objects.store, answers)
    # Two uploads, the index, one removal of the index before and one of what it named.
    with pytest.raises(OSError, match="the line is cut"):
        push(cut, tmp_path / "run")
    assert fetched(place, tmp_path / "elsewhere") == (FIRST if answers < 3 else SECOND)
    push(connect(place), tmp_path / "run")
    assert fetched(place, tmp_path / "elsewhere") == SECOND


def test_the_same_push_again_sends_what_did_not_come_through_alone(tmp_path: Path) -> None:
    place = RemotePlace("file", f"{tmp_path}/share/run")
    write(tmp_path / "run", FIRST)
    cut = CutOff(place, connect(place).store, 2)
    mirror = mirror_of(cut, tmp_path / "run")
    with pytest.raises(OSError, match="the line is cut"):
        mirror.push(snapshot(RunFolder(tmp_path / "run")))
    # One of them is no part of the run any more.
    second(tmp_path / "run")
    cut.left = 99
    mirror.push(snapshot(RunFolder(tmp_path / "run")))
    assert fetched(place, tmp_path / "elsewhere") == SECOND
    assert set(connect(place).list()) == {*index_of(place).object_names(), f"{INDICES}/1.json"}


def test_an_end_before_the_first_index_leaves_no_run(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    with pytest.raises(OSError, match="the line is cut"):
        push(CutOff(place, connect(place).store, 3), tmp_path / "run")
    assert len(connect(place).list()) == len(FIRST)
    assert read_index(connect(place)) is None


class AnswersLost(Objects):
    """Objects of a store whose next answer to a condition is lost on the way."""

    lost = False

    def put_if_absent(self, name: str, content: bytes) -> Version | None:
        created = super().put_if_absent(name, content)
        if self.lost:
            self.lost = False
            raise OSError("the line is cut")
        return created


def test_an_index_whose_answer_was_lost_is_followed_by_the_next_one(place: RemotePlace, tmp_path: Path) -> None:
    objects = AnswersLost(place, connect(place).store)
    write(tmp_path / "run", FIRST)
    mirror = mirror_of(objects, tmp_path / "run")
    mirror.push(snapshot(RunFolder(tmp_path / "run")))
    objects.lost = True
    write(tmp_path / "run", {"run.json": "between"})
    with pytest.raises(OSError, match="the line is cut"):
        mirror.push(snapshot(RunFolder(tmp_path / "run")))
    assert fetched(place, tmp_path / "elsewhere") == FIRST | {"run.json": "between"}
    second(tmp_path / "run")
    mirror.push(snapshot(RunFolder(tmp_path / "run")))
    assert fetched(place, tmp_path / "elsewhere") == SECOND
    assert set(connect(place).list()) == {*index_of(place).object_names(), f"{INDICES}/3.json"}


def test_a_run_of_an_earlier_version_is_read_and_goes_on(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    earlier = put_as_earlier(place, tmp_path / "run")
    assert index_of(place) == earlier
    assert fetched(place, tmp_path / "elsewhere") == FIRST
    second(tmp_path / "run")
    push(connect(place), tmp_path / "run")
    assert fetched(place, tmp_path / "elsewhere") == SECOND
    # What did not change lies where it lay.
    assert set(connect(place).list()) == {*index_of(place).object_names(), f"{INDICES}/1.json"}
    assert index_of(place).by_name()["recipe.yaml"].object_name == "recipe.yaml"


def test_what_an_earlier_version_was_writing_when_it_ended_is_sent_again(place: RemotePlace, tmp_path: Path) -> None:
    write(tmp_path / "run", FIRST)
    coming = StoredFile(name="run.json", bytes=4, sha256=hashlib.sha256(b"long").hexdigest())
    put_as_earlier(place, tmp_path / "run", (coming,))
    for number, text in enumerate(("{}", "long")):
        connect(place).put("run.json", text.encode())
        assert fetched(place, tmp_path / f"elsewhere {number}") == FIRST | {"run.json": text}
    push(connect(place), tmp_path / "run")
    assert fetched(place, tmp_path / "elsewhere") == FIRST
    assert index_of(place).by_name()["run.json"].key is not None and not index_of(place).coming


def test_another_holder_stops_it_before_it_writes(place: RemotePlace, tmp_path: Path) -> None:
    def lost() -> None:
        raise SalusError("taken over")

    write(tmp_path / "run", FIRST)
    push(connect(place), tmp_path / "run")
    second(tmp_path / "run")
    mirror = Mirror(connect(place), index_of(place), tmp_path / "run", KnownFiles(tmp_path / "run"), lost, 2)
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
    name = object_of(place, "run.json")
    connect(place).put(name, b"{} ")
    with pytest.raises(SalusError, match=f"{place}/{name} is not what the run left there"):
        fetched(place, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "run.json").exists()
    connect(place).delete([name])
    with pytest.raises(SalusError, match=f"{place}/{name} is gone"):
        fetched(place, tmp_path / "elsewhere")


def test_uploads_wait_for_a_store_that_comes_back(tmp_path: Path) -> None:
    place, told = RemotePlace("file", f"{tmp_path}/share/run"), list[str]()
    write(tmp_path / "run", FIRST)
    cut = CutOff(place, connect(place).store, 1)
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
    mirror = mirror_of(CutOff(place, connect(place).store, 0), folder.root)
    uploads = Uploads(place, folder, mirror, lambda _: None, waits_s=(0.01,))
    with (
        pytest.raises(SalusError, match=r"\(the line is cut\); the files are in .*: the same command goes on"),
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


def test_an_index_is_read_as_written_and_leads_nowhere_else(place: RemotePlace) -> None:
    objects = connect(place)
    assert read_index(objects) is None
    file = StoredFile(name="cycles/01/decision.json", bytes=2, sha256="0" * 64, key="1/cycles/01/decision.0.json")
    index = StoreIndex(number=1, revision="a", files=(file,))
    assert add_index(objects, index) and read_index(objects) == index
    assert index.sums() == {file.name: {"0" * 64}}
    for taken in (file.name, file.key):
        assert taken is not None
        for name in ("../../etc/passwd", "/etc/passwd", "a//b", ".lease/1.json", "a/./b", ""):
            objects.put(f"{INDICES}/1.json", index.model_dump_json().replace(taken, name).encode())
            with pytest.raises(SalusError, match=r"/\.index/1\.json is not an index of version 1 or 2"):
                read_index(objects)
