"""Processes of a run are killed while they work; what the run leaves is what it leaves when nothing happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray

from actors.contract.run_folder import RunFolder
from actors.training.checkpoints import MARK
from pipelines.alignment.align import align
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.checksums import check_sums
from pipelines.runs.finished.audit import audit
from tests.e2e.conftest import TINY
from tests.e2e.deployed import LONGEST
from tests.e2e.faults import left_running, results, wait_until
from tests.e2e.processes import running
from tests.e2e.whole_run import Aligned
from tests.quiet_reporter import QuietReporter

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Fault:
    """A process to kill once a file is there and some more seconds have passed."""

    process: str
    after: str
    seconds: float = 0.0


FAULTS = (
    Fault("VllmGenerator", after="cycles/01/rollouts/*.parquet"),
    Fault("RecipeJudge", after="cycles/01/judgments/*.parquet"),
    # Restarted by Ray Train; goes on from the checkpoint. While its imports last, the other algorithm goes on.
    Fault("RayTrainWorker", after=f"ray_train/checkpoints/c1-*/checkpoint-*/{MARK}"),
    Fault("VllmGenerator", after="evaluations/validation/c1-*/rollouts/*.parquet"),
    Fault("PublishingCoordinator", after="cycles/02/rollouts/*.parquet"),
    Fault("PublishingCoordinator", after="cycles/02/rows/dpo/report.json", seconds=4),
    Fault("ServeController", after="evaluations/validation/c2-*/rollouts/*.parquet"),
    Fault("RecipeJudge", after="evaluations/test/*/rollouts/*.parquet"),
)


class Killer(threading.Thread):
    """Injects faults one after the other, each at its moment."""

    def __init__(self, root: Path, faults: Sequence[Fault]) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._faults = faults
        self.killed: list[str] = []

    def run(self) -> None:
        for fault in self._faults:
            wait_until(lambda fault=fault: any(self._root.glob(fault.after)))  # type: ignore[misc]
            time.sleep(fault.seconds)
            for process in running(fault.process)[:1]:
                process.kill()
                self.killed.append(fault.process)


def test_a_run_whose_processes_are_killed_comes_to_the_same_end(
    aligned: Aligned, recipe: Recipe, tmp_path: Path
) -> None:
    root = tmp_path / "tiny"
    killer = Killer(root, FAULTS)
    killer.start()
    saving = recipe.train.model_copy(update={"checkpoint_every_steps": 5})
    align(recipe.model_copy(update={"train": saving}), root, QuietReporter())
    assert killer.killed == [fault.process for fault in FAULTS]
    assert results(root) == results(aligned.folder.root)
    assert check_sums(RunFolder(root)).intact
    assert list((RunFolder(root).train_storage / "checkpoints").iterdir()) == []
    assert not ray.is_initialized()
    assert left_running() == []


def test_a_run_whose_driver_is_killed_goes_on_with_the_same_command(
    aligned: Aligned, settings: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "tiny"
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "pipelines.cli.main", "align", str(TINY), "--run", str(root), *overrides]
    for moment in ("cycles/01/rollouts/*.parquet", "cycles/02/rows/dpo/report.json"):
        driver = psutil.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda moment=moment: any(root.glob(moment)))  # type: ignore[misc]
        started = [driver, *driver.children(recursive=True)]
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        # Nobody asks them to: they notice that their driver is gone.
        assert psutil.wait_procs(started, timeout=90)[1] == []
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert results(root) == results(aligned.folder.root)


def test_a_challenger_whose_loss_is_not_finite_leaves_the_other(settings: list[str], tmp_path: Path) -> None:
    changes = ["cycles=1", "train.challengers.kto.learning_rate=1.0e+30", "publish.enabled=false"]
    # Beside it, what this judge's first word would be if it had to be a number: its coverage tells what that is worth.
    changes += ["harmfulness.min_coverage=0", f"judge.engine.max_model_len={LONGEST}"]
    root = tmp_path / "tiny"
    summary = align(load_recipe(str(TINY), [*settings, *changes]), root, QuietReporter())
    (made,) = audit(RunFolder(root))
    kto, dpo = made.recorded.challengers
    assert (
        kto.standing == "training_failed"
        and "diverged" in kto.sentence
        and "train.challengers.kto.learning_rate" in kto.sentence
    )
    assert dpo.metrics is not None and made.recorded.chosen == summary.cycles[0].decision
    assert summary.cycles[0].challengers["kto"] is None and summary.cycles[0].challengers["dpo"] is not None
    assert made.differences == []
    assert summary.harmfulness is not None
    for rated in (summary.harmfulness.base, summary.harmfulness.champion):
        assert 0 < sum(rated.counts) == rated.n == rated.rows and rated.mean is not None
        assert 1 <= rated.mean.low <= rated.mean.value <= rated.mean.high <= 5
