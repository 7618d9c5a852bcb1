"""A full disk, really filled: what each library says of it, and the one sentence that it becomes."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from safetensors.torch import save_file

from actors.errors import SalusError
from actors.files.full_disk import FullDiskError, disk_of, full_disk
from actors.files.shards import write_bytes, write_table, write_text
from actors.training.ranks import all_or_none
from tests.small_disk import fill, small_disk
from tests.tiny_model import make_tiny_model

TABLE = pa.table({"answer": ["no"] * 5000, "row": list(range(5000))})


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A full one; what stands in it is `known.parquet` and `known.json`."""
    with small_disk(tmp_path_factory.mktemp("small") / "disk", kib=256) as folder:
        write_table(TABLE.slice(0, 3), folder / "known.parquet")
        write_text("{}", folder / "known.json")
        fill(folder / "ballast")
        yield folder


def torch_save(path: Path) -> None:
    torch.save({"state": torch.zeros(100_000)}, path)


def model(path: Path) -> None:
    make_tiny_model(path)


def arrow(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_text("x" * 50_000, path),
    "table": lambda path: write_table(TABLE, path),
    "parquet": lambda path: pq.write_table(TABLE, path),
    "arrow": arrow,
    "safetensors": lambda path: save_file({"weight": torch.zeros(100_000)}, path),
    "torch": torch_save,
    "transformers": model,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_whoever_writes_it_becomes_the_sentence(disk: Path, writer: str) -> None:
    with pytest.raises(FullDiskError) as caught, disk_of(disk):
        WRITERS[writer](disk / f"new.{writer}")
    assert caught.value.sentence == (
        f"The disk of {disk} is full (No space left on device); free space there, then run the same command again:"
        " it goes on where it stopped."
    )


def test_of_a_write_that_failed_nothing_is_left_and_what_was_there_stays(disk: Path) -> None:
    before = {path: path.read_bytes() for path in disk.glob("known.*")}
    for write in (
        partial(write_table, TABLE, disk / "known.parquet"),
        partial(write_text, "x" * 50_000, disk / "known.json"),
        partial(write_bytes, b"x" * 50_000, disk / "other"),
    ):
        with pytest.raises(FullDiskError, match=f"The disk of {disk} is full .No space left on device.; free"):
            write()
    assert {path: path.read_bytes() for path in disk.glob("known.*")} == before
    assert not list(disk.glob(".*")) and not (disk / "other").exists()


def test_an_error_that_names_its_file_says_where(tmp_path: Path) -> None:
    error = OSError(errno.EDQUOT, "Disk quota exceeded", "/data/runs/a.parquet")
    fault = full_disk(pickle.loads(pickle.dumps(error)), tmp_path)
    assert fault is not None and fault.sentence.startswith("The disk of /data/runs is full (Disk quota exceeded)")
    nowhere = full_disk(no_space())
    assert nowhere is not None and nowhere.sentence.startswith("A disk that this command writes to is full")


def test_it_is_found_behind_what_failed_because_of_it(tmp_path: Path) -> None:
    with pytest.raises(FullDiskError) as caught, disk_of(tmp_path):
        try:
            raise no_space()
        except OSError as error:
            raise RuntimeError("the training ended") from error
    known = FullDiskError("The disk of /a is full.")
    with pytest.raises(FullDiskError, match="The disk of /a is full"), disk_of(tmp_path):
        try:
            raise known
        finally:
            # What cleans up meets it again.
            raise no_space()
    assert "No space left" in caught.value.sentence


def test_other_faults_stay_what_they_are(tmp_path: Path) -> None:
    quoted = ValueError("the answer is: No space left on device")
    own = SalusError("The registry r cannot be written (No space left on device); free its place.")
    own.__cause__ = no_space()
    for error in (quoted, own, OSError(errno.EACCES, "Permission denied"), RuntimeError("unexpected pos 64 vs 0")):
        assert full_disk(error, tmp_path) is None
        with pytest.raises(type(error)) as caught, disk_of(tmp_path):
            raise error
        assert caught.value is error


def test_all_ranks_raise_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FullDiskError, match="is full"), all_or_none(), disk_of(tmp_path):
        raise no_space()
    assert isinstance(pickle.loads(pickle.dumps(FullDiskError("a"))), FullDiskError)


@pytest.mark.parametrize("arguments", [["--help"], ["doctor"]])
def test_output_that_cannot_be_written_is_a_sentence(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "pipelines.cli.main", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("salus: A disk that this command writes to is full (No space left on device); free")
    assert len(done.stderr.splitlines()) == 1


# -- across Ray


@ray.remote(num_cpus=0)
def write_far_away(path: Path, how: str) -> None:
    if how == "told":
        with disk_of(path.parent):
            write_table(TABLE, path)
    else:
        WRITERS[how](path)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("how", ["table", "safetensors", "told"])
def test_a_remote_one_is_the_same(ray_session: None, disk: Path, how: str) -> None:
    with pytest.raises(FullDiskError) as caught, disk_of(disk):
        ray.get(write_far_away.remote(disk / "far", how))
    assert caught.value.sentence.startswith(f"The disk of {disk} is full (No space left on device)")
