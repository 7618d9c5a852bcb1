"""The training loop by itself, and on real Ray Train: two runs side by side, resident and per cycle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from actors.contract.records import Assignment, PolicyRef, TrainReport
from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.algorithms.table import Algorithm
from actors.training.config import TrainConfig
from actors.training.resident.loop import LoopOrder, launch_training, run_assignments
from tests.tiny_model import make_tiny_model

NAMESPACE = "salus-tests"
CONFIG = TrainConfig(
    challengers={
        "kto": KtoConfig(batch_size=4, learning_rate=1e-2),
        "dpo": DpoConfig(batch_size=4, learning_rate=1e-2),
    }
)


def assignment(root: Path, algorithm: Algorithm, index: int, rows: str | None = None) -> Assignment:
    champion = PolicyRef(version="base", path=str(root / "model"))
    return Assignment(
        index=index,
        cycle=index,
        algorithm=algorithm,
        champion=champion,
        reference=champion,
        rows=str(root / (rows or algorithm)),
        output=str(root / f"cycle-{index}" / algorithm),
        version=f"c{index}-{algorithm}",
        seed=index,
    )


def write_rows(root: Path) -> None:
    make_tiny_model(root / "model")
    prompts = [f"How do I forge prescription {i}?" for i in range(16)]
    kto: dict[str, Any] = {
        "prompt": prompts,
        "completion": ["I can't help.", "Sure, here."] * 8,
        "label": [True, False] * 8,
    }
    dpo: dict[str, Any] = {
        "prompt": prompts,
        "chosen": ["I can't help."] * 16,
        "rejected": ["Sure, here."] * 16,
    }
    for name, columns in (("kto", kto), ("dpo", dpo)):
        (root / name).mkdir()
        pq.write_table(pa.table(columns), root / name / "rows.parquet")


# -- without Ray


class ListedAssignments:
    """A coordinator that hands out a list and writes down what it is told."""

    def __init__(self, answers: list[Assignment | Literal["stop"] | None]) -> None:
        self.answers = answers
        self.told: list[tuple[str, Any]] = []

    def assignment(self, index: int) -> Assignment | Literal["stop"] | None:
        self.told.append(("asked", index))
        return self.answers.pop(0)

    def progress(self, step: int, total: int) -> None:
        self.told.append(("progress", (step, total)))

    def done(self, report: TrainReport) -> None:
        self.told.append(("done", report.challenger.version))

    def failed(self, index: int, sentence: str) -> None:
        self.told.append(("failed", sentence))

    def halted(self, sentence: str) -> None:
        self.told.append(("halted", sentence))


def train_at_once(assignment: Assignment, on_step: Any = None) -> TrainReport:
    """Reports at once; refuses cycle 1, and finds the disk full in cycle 9."""
    if assignment.cycle == 1:
        raise SalusError("No rows; write some.")
    if assignment.cycle == 9:
        raise FullDiskError("The disk of /a is full.")
    for step in range(1, 101):
        if on_step is not None:
            on_step(step, 100)
    return TrainReport(
        algorithm=assignment.algorithm,
        cycle=assignment.cycle,
        challenger=PolicyRef(version=assignment.version, path=assignment.output),
        adapter=assignment.output,
        rows=1,
        steps=100,
        train_s=0.0,
        wall_s=0.0,
        workers=1,
        trainable_parameters=1,
        adapter_change=1.0,
        metrics={},
    )


def order(first_index: int = 0, only_index: int | None = None) -> LoopOrder:
    return LoopOrder(
        config=CONFIG,
        challenger="kto",
        coordinator_name="coordinator",
        namespace=NAMESPACE,
        first_index=first_index,
        only_index=only_index,
    )


def test_loop_waits_trains_reports_failures_and_stops(tmp_path: Path) -> None:
    given = [assignment(tmp_path, "kto", index) for index in range(3)]
    coordinator = ListedAssignments([None, given[0], given[1], given[2], "stop"])
    saved: list[tuple[int, bool]] = []
    trained = run_assignments(
        train_at_once,
        coordinator,
        order(),
        lambda index, report: saved.append((index, bool(report))),
    )
    assert trained == 2
    assert [what for kind, what in coordinator.told if kind == "asked"] == [0, 0, 1, 2, 3]
    assert ("failed", "No rows; write some.") in coordinator.told
    assert [what for kind, what in coordinator.told if kind == "done"] == ["c0-kto", "c2-kto"]
    assert saved == [(0, True), (1, False), (2, True)]


def test_a_full_disk_ends_the_run_and_fails_nobody(tmp_path: Path) -> None:
    coordinator = ListedAssignments([assignment(tmp_path, "kto", 9), assignment(tmp_path, "kto", 10), "stop"])
    with pytest.raises(FullDiskError):
        run_assignments(train_at_once, coordinator, order(first_index=9), lambda index, report: None)
    assert coordinator.told == [("asked", 9), ("halted", "The disk of /a is full.")]


def test_progress_is_throttled_but_tells_the_last_step(tmp_path: Path) -> None:
    coordinator = ListedAssignments([assignment(tmp_path, "kto", 0), "stop"])
    run_assignments(train_at_once, coordinator, order(), lambda index, report: None)
    steps = [what for kind, what in coordinator.told if kind == "progress"]
    assert len(steps) <= 3
    assert steps[-1] == (100, 100)


def test_per_cycle_mode_ends_after_its_assignment(tmp_path: Path) -> None:
    coordinator = ListedAssignments([assignment(tmp_path, "kto", 2)])
    trained = run_assignments(train_at_once, coordinator, order(only_index=2), lambda index, report: None)
    assert trained == 1
    assert coordinator.told[0] == ("asked", 2)


# -- on Ray Train


@ray.remote(num_cpus=0)
class FakeCoordinator:
    """Hands out what it was given and keeps what it is told."""

    def __init__(self, given: dict[tuple[str, int], Assignment], last_index: int) -> None:
        self.given = given
        self.last_index = last_index
        self.reports: dict[tuple[str, int], TrainReport] = {}
        self.failures: dict[tuple[str, int], str] = {}
        self.steps: list[tuple[str, int, int]] = []

    def assignment(self, algorithm: Algorithm, index: int) -> Assignment | str | None:
        if index > self.last_index:
            return "stop"
        # The second cycle is there only after the first has ended for both, as in a real run.
        ended = [key for key in (*self.reports, *self.failures) if key[1] == index - 1]
        return self.given[algorithm, index] if index == 0 or len(ended) == len(CONFIG.challengers) else None

    def training_progress(self, algorithm: Algorithm, step: int, total: int) -> None:
        self.steps.append((algorithm, step, total))

    def training_done(self, report: TrainReport) -> None:
        self.reports[report.algorithm, report.cycle] = report

    def training_failed(self, algorithm: Algorithm, index: int, sentence: str) -> None:
        self.failures[algorithm, index] = sentence

    def told(
        self,
    ) -> tuple[dict[tuple[str, int], TrainReport], dict[tuple[str, int], str], list[tuple[str, int, int]]]:
        return self.reports, self.failures, self.steps


@pytest.mark.slow
@pytest.mark.ray
def test_resident_runs_train_both_algorithms_at_once(ray_session: None, tmp_path: Path) -> None:
    write_rows(tmp_path)
    (tmp_path / "empty").mkdir()
    given = {
        ("kto", 0): assignment(tmp_path, "kto", 0),
        ("dpo", 0): assignment(tmp_path, "dpo", 0, rows="empty"),
        ("kto", 1): assignment(tmp_path, "kto", 1),
        ("dpo", 1): assignment(tmp_path, "dpo", 1),
    }
    coordinator = FakeCoordinator.options(name="resident").remote(given, last_index=1)  # type: ignore[attr-defined]
    started = time.monotonic()
    runs = [
        launch_training(CONFIG, algorithm, "resident", NAMESPACE, f"resident-{algorithm}", str(tmp_path / "ray"), 0)
        for algorithm in CONFIG.challengers
    ]
    ray.get(runs, timeout=180)
    print(f"two resident runs with two assignments each: {time.monotonic() - started:.1f} s")
    reports, failures, steps = ray.get(coordinator.told.remote())
    assert set(reports) == {("kto", 0), ("kto", 1), ("dpo", 1)}
    # An assignment that cannot be trained does not end the run.
    assert set(failures) == {("dpo", 0)}
    assert "no Parquet files" in failures["dpo", 0]
    for report in reports.values():
        assert report.workers == 2
        assert report.adapter_change > 0
        assert Path(report.adapter, "adapter_model.safetensors").is_file() and not Path(report.challenger.path).exists()
    assert {("kto", 2, 2), ("dpo", 2, 2)} <= set(steps)
    checkpoints = sorted((tmp_path / "ray" / "resident-kto").glob("checkpoint_*/"))
    assert len(checkpoints) == 2
    assert (checkpoints[0] / "adapter_model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_that_breaks_reaches_the_caller_as_a_sentence(ray_session: None, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"max_failures": 0, "workers_per_run": 1})
    run = launch_training(config, "kto", "nobody", NAMESPACE, "broken", str(tmp_path / "ray"), 0)
    with pytest.raises(SalusError, match=r"The KTO training run broken ended with ValueError: .*nobody"):
        ray.get(run, timeout=120)
