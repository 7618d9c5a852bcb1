"""Progress: told now and then, through a file that may not be there yet."""

from __future__ import annotations

from pathlib import Path

from actors.training.progress import Progress, ProgressFile, throttled


def test_the_last_step_is_always_told() -> None:
    told: list[tuple[int, int]] = []
    on_step = throttled(lambda step, total: told.append((step, total)))
    for step in range(1, 1001):
        on_step(step, 1000)
    assert told[-1] == (1000, 1000)
    assert len(told) < 100


def test_a_file_says_what_was_told_last(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "judge" / ".progress.json")
    assert file.read() == Progress()
    file.tell(3, 10)
    assert file.read() == Progress(step=3, total=10)
    file.fail("No rows; write some.")
    assert file.read().fault == "No rows; write some."
    file.remove()
    assert file.read() == Progress()
    assert not list((tmp_path / "judge").iterdir())
