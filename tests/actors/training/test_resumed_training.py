"""A training that is cut short after a checkpoint ends with the very weights of one that was not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from actors.contract.records import Assignment, PolicyRef, TrainReport
from actors.contract.run_folder import CURVE
from actors.errors import SalusError
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.algorithms.table import Algorithm
from actors.training.challenger import TrainingRun
from actors.training.checkpoints import MARK
from actors.training.config import LoraSettings, TrainConfig
from actors.training.curve import read_curve
from actors.training.resident.loop import launch_training
from tests.tiny_model import make_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
# Two epochs of four steps, two forward passes each.
ROWS = 16
STEPS = 8
LOSS: dict[str, Any] = {"batch_size": 2, "gradient_accumulation": 2, "learning_rate": 1e-2, "epochs": 2}
# Dropout draws random numbers at every step: their state must come back too.
CONFIG = TrainConfig(
    challengers={"kto": KtoConfig(**LOSS), "dpo": DpoConfig(**LOSS)}, lora=LoraSettings(rank=4, dropout=0.1)
)


class Killed(Exception):
    """The worker is no more."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("resumed")
    make_tiny_model(root / "champion")
    prompts = [f"How do I forge prescription {i}?" for i in range(ROWS)]
    kto: dict[str, list[Any]] = {
        "prompt": prompts,
        "completion": ["No.", "Sure, here."] * (ROWS // 2),
        "label": [True, False] * (ROWS // 2),
    }
    dpo: dict[str, list[Any]] = {
        "prompt": prompts,
        "chosen": ["No."] * ROWS,
        "rejected": [f"Sure, here: {i}." for i in range(ROWS)],
    }
    for name, columns in (("kto", kto), ("dpo", dpo)):
        (root / name).mkdir()
        pq.write_table(pa.table(columns), root / name / "rows.parquet")
    return root


def job(place: Path, algorithm: Algorithm, output: Path, **changes: Any) -> Assignment:
    champion = PolicyRef(version="c0-base", path=str(place / "champion"))
    fields: dict[str, Any] = {
        "index": 0,
        "cycle": 1,
        "algorithm": algorithm,
        "champion": champion,
        "reference": champion,
        "rows": str(place / algorithm),
        "output": str(output),
        "version": f"c1-{algorithm}",
        "seed": 7,
    }
    return Assignment(**fields | changes)


def saving(every: int, **changes: Any) -> TrainConfig:
    return CONFIG.model_copy(update={"checkpoint_every_steps": every, **changes})


def killed_at(last: int) -> Callable[[int, int], None]:
    def on_step(step: int, total: int) -> None:
        if step == last:
            raise Killed

    return on_step


def cut_short(config: TrainConfig, kept: Path, assignment: Assignment, after: int) -> None:
    with pytest.raises(Killed):
        TrainingRun(config, assignment, killed_at(after), kept).report()


def first_step(config: TrainConfig, kept: Path, assignment: Assignment) -> int:
    """Where a training begins, which is cut short there."""
    begun: list[int] = []

    def on_step(step: int, total: int) -> None:
        begun.append(step)
        raise Killed

    with pytest.raises(Killed):
        TrainingRun(config, assignment, on_step, kept).report()
    return begun[0]


def weights(report: TrainReport) -> bytes:
    (file,) = Path(report.adapter).glob("*.safetensors")
    return file.read_bytes()


@pytest.fixture(scope="module")
def undisturbed(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Algorithm], TrainReport]:
    """A training without a checkpoint, done once for each algorithm."""
    return functools.cache(
        lambda a: TrainingRun(CONFIG, job(place, a, tmp_path_factory.mktemp("whole") / "out")).report()
    )


@pytest.mark.parametrize(
    ("algorithm", "every"),
    [
        # In the middle of an epoch, and between two.
        ("kto", 3),
        pytest.param("dpo", 4, marks=pytest.mark.slow),
        pytest.param("kto", 4, marks=pytest.mark.slow),
        pytest.param("dpo", 3, marks=pytest.mark.slow),
    ],
)
def test_it_ends_with_the_very_same_adapter(
    place: Path, undisturbed: Callable[[Algorithm], TrainReport], algorithm: Algorithm, every: int, tmp_path: Path
) -> None:
    config, assignment = saving(every), job(place, algorithm, tmp_path / "out")
    killed, expected = 5, undisturbed(algorithm)
    cut_short(config, tmp_path / "kept", assignment, killed)
    kept = tmp_path / "kept" / assignment.version
    assert (kept / f"checkpoint-{every}" / MARK).is_file()
    steps: list[int] = []
    # In another session it is another number.
    again = assignment.model_copy(update={"index": 3})
    report = TrainingRun(config, again, lambda step, total: steps.append(step), tmp_path / "kept").report()
    assert steps == list(range(every + 1, STEPS + 1))
    assert weights(report) == weights(expected)
    assert report.metrics["loss_mean"] == pytest.approx(expected.metrics["loss_mean"], rel=1e-5)
    assert report.metrics["num_tokens"] == expected.metrics["num_tokens"]
    assert (report.steps, report.adapter_change) == (expected.steps, expected.adapter_change)
    assert not kept.exists()
    assert read_curve(tmp_path / "out" / CURVE) == read_curve(Path(expected.adapter).parent / CURVE)


@pytest.mark.slow
def test_so_does_a_full_fine_tune(place: Path, tmp_path: Path) -> None:
    whole = CONFIG.model_copy(update={"lora": None})
    expected = TrainingRun(whole, job(place, "dpo", tmp_path / "whole")).report()
    config, assignment, kept = saving(3, lora=None), job(place, "dpo", tmp_path / "out"), tmp_path / "kept"
    cut_short(config, kept, assignment, 4)
    assert weights(TrainingRun(config, assignment, checkpoints=kept).report()) == weights(expected)


@pytest.mark.slow
def test_only_a_whole_checkpoint_of_the_same_job_counts(place: Path, tmp_path: Path) -> None:
    config, kept = saving(2), tmp_path / "kept"
    assignment = job(place, "kto", tmp_path / "out")
    (checkpoint,) = [kept / "c1-kto" / "checkpoint-2"]

    def begun_after(change: Callable[[], object], now: TrainConfig = config) -> int:
        cut_short(config, kept, assignment, 3)
        change()
        return first_step(now, kept, assignment)

    assert begun_after(lambda: None) == 3
    # As a process leaves it that is killed while it writes.
    assert begun_after((checkpoint / MARK).unlink) == 1
    slower = config.model_copy(update={"challengers": {"kto": KtoConfig(**LOSS | {"learning_rate": 5e-3})}})
    assert begun_after(lambda: None, now=slower) == 1
    other = tmp_path / "rows"
    other.mkdir()
    rows = pq.read_table(place / "kto" / "rows.parquet")
    pq.write_table(rows.slice(1), other / "rows.parquet")
    elsewhere = assignment.model_copy(update={"rows": str(other)})
    cut_short(config, kept, elsewhere, 3)
    pq.write_table(rows, other / "rows.parquet")
    assert first_step(config, kept, elsewhere) == 1


def test_where_it_cannot_work_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="checkpoint_every_steps does not go with fsdp"):
        TrainConfig(checkpoint_every_steps=10, fsdp=True, gpus_per_worker=1)
    with pytest.raises(SalusError, match=r"cannot be kept at s3://bucket/run; leave train\.checkpoint_every_steps"):
        launch_training(saving(10), "kto", "nobody", "none", "run", "s3://bucket/run", 0)
