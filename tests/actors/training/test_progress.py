"""Progress: told now and then, through a file that may not be there yet."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from actors.errors import SalusError
from actors.training.curve import Curve, curve_table, read_curve
from actors.training.progress import CurveFile, Progress, ProgressFile, logged_figures, mean_loss, throttled


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


def logs(steps: int) -> list[dict[str, float]]:
    """A trainer's log of so many steps, with a loss that falls, and the row without a loss at its end."""
    rows = [
        {"step": s, "loss": 1 / s, "learning_rate": 1 - s / 100, "kl": 0.1 * s, "epoch": 0.5} for s in range(1, steps)
    ]
    return [*rows, {"step": steps, "loss": math.nan, "grad_norm": 2.0}, {"step": steps, "train_runtime": 3.0}]


def test_a_curve_has_a_row_for_each_logged_step_and_no_value_where_none_is_finite(tmp_path: Path) -> None:
    CurveFile(tmp_path / "kto" / "curve.parquet").write(logs(3))
    found = read_curve(tmp_path / "kto" / "curve.parquet")
    assert found == Curve(
        steps=(1, 2, 3),
        figures={
            "loss": (1.0, 0.5, None),
            "grad_norm": (None, None, 2.0),
            "learning_rate": (0.99, 0.98, None),
            "kl": (0.1, 0.2, None),
        },
    )
    assert found.at(2) == {"grad_norm": 2.0}


def test_a_curve_is_readable_while_it_grows_and_a_disk_that_refuses_stops_no_training(tmp_path: Path) -> None:
    path = tmp_path / "curve.parquet"
    file = CurveFile(path, every_s=3600)
    file.look(logs(3))
    file.look(logs(9))
    assert (found := read_curve(path)) is not None and found.steps == (1, 2, 3)
    (tmp_path / "taken").write_text("no folder")
    CurveFile(tmp_path / "taken" / "curve.parquet").look(logs(3))
    with pytest.raises(OSError):
        CurveFile(tmp_path / "taken" / "curve.parquet").write(logs(3))


def test_what_is_no_curve_is_refused_and_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "none.parquet") is None
    (tmp_path / "text.parquet").write_text("loss")
    with pytest.raises(SalusError, match="not a readable training curve"):
        read_curve(tmp_path / "text.parquet")
    assert curve_table([]).column_names == ["step"]


def test_a_report_has_the_first_and_the_last_tenth_of_a_training() -> None:
    rows = [
        {"step": s, "loss": float(s), "kl": 2.0 * s, "learning_rate": 1.0 / s, "num_tokens": 10.0 * s}
        for s in range(1, 31)
    ]
    found = logged_figures(rows, 15.5, 0, 30)
    assert found == {
        "loss_mean": 15.5, "loss_first": 2.0, "loss_last": 29.0, "kl": 58.0, "learning_rate": 1 / 30,
        "num_tokens": 300.0,
    }  # fmt: skip
    # From a checkpoint at step 10 on, tokens are counted anew.
    resumed = rows[:10] + [row | {"num_tokens": row["num_tokens"] - 100} for row in rows[10:]]
    assert logged_figures(resumed, 15.5, 10, 30)["num_tokens"] == 300.0
    assert mean_loss(rows[:10], 20.5, 10, 30) == pytest.approx(15.5)
    assert logged_figures([], 1.0, 0, 30) == {"loss_mean": 1.0}
