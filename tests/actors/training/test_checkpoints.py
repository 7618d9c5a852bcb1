"""Which checkpoint counts: the newest that is whole and of the same job."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.training.checkpoints import MARK, Checkpoints


def write(folder: Path, step: int, text: str = "weights") -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "inner").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_text(text)
    (checkpoint / "inner" / "rng_state_1.pth").write_text(text)
    return checkpoint


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    """Of a job with one marked checkpoint, after step 20."""
    checkpoints = Checkpoints(tmp_path / "c1-kto", "job")
    write(checkpoints.folder, 20)
    checkpoints.mark(20)
    return checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none", "job").last() is None


def test_one_that_is_not_marked_does_not_count(kept: Checkpoints) -> None:
    write(kept.folder, 100)
    assert kept.last() == kept.folder / "checkpoint-20"
    assert names(kept.folder) == ["checkpoint-20"]


def test_a_new_one_takes_the_place_of_the_one_before_once_it_is_whole(kept: Checkpoints) -> None:
    write(kept.folder, 100)
    assert names(kept.folder) == ["checkpoint-100", "checkpoint-20"]
    kept.mark(100)
    assert names(kept.folder) == ["checkpoint-100"]
    assert kept.last() == kept.folder / "checkpoint-100"


@pytest.mark.parametrize("damage", ["lost", "changed", "added", "mark"])
def test_a_damaged_one_does_not_count(kept: Checkpoints, damage: str) -> None:
    checkpoint = kept.folder / "checkpoint-20"
    if damage == "lost":
        (checkpoint / "inner" / "rng_state_1.pth").unlink()
    else:
        name = {"changed": "model.safetensors", "added": "more", "mark": MARK}[damage]
        (checkpoint / name).write_text("half")
    assert kept.last() is None
    assert names(kept.folder) == []


def test_that_of_another_job_does_not_count(kept: Checkpoints) -> None:
    assert Checkpoints(kept.folder, "other").last() is None
    assert names(kept.folder) == []
