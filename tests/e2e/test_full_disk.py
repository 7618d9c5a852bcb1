"""A run's disk fills up while it works: one sentence, nobody left behind, and the same end once there is room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import TINY
from tests.e2e.faults import results
from tests.e2e.whole_run import Aligned
from tests.small_disk import fill, small_disk

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]
# Generators and judges write then; trainers do.
MOMENTS = ("cycles/01/rollouts/*.parquet", "cycles/01/rows/dpo/report.json")
SIZE_KIB = 32 * 1024


class Command:
    """`salus align` in a folder, with what it prints on another disk."""

    def __init__(self, settings: list[str], root: Path, log: Path) -> None:
        overrides = [part for setting in settings for part in ("--set", setting)]
        self._arguments = ["align", str(TINY), "--run", str(root), *overrides]
        self._root = root
        self._log = log

    def run(self, full_at: str | None = None, ballast: Path | None = None) -> tuple[int, str]:
        """To its end, which comes after `ballast` has filled the disk once a file of the run is there."""
        command = [sys.executable, "-m", "pipelines.cli.main", *self._arguments]
        started: set[psutil.Process] = set()
        with self._log.open("wb") as log:
            process = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            while process.poll() is None:
                if full_at is not None and ballast is not None and any(self._root.glob(full_at)):
                    fill(ballast)
                    full_at = None
                try:
                    started.update(process.children(recursive=True))
                    process.wait(timeout=0.1)
                except (psutil.TimeoutExpired, psutil.NoSuchProcess):
                    continue
        assert psutil.wait_procs(started, timeout=60)[1] == []
        return process.returncode, self._log.read_text()


def test_a_run_whose_disk_is_full_says_so_and_goes_on_once_there_is_room(
    aligned: Aligned, settings: list[str], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", SIZE_KIB) as disk:
        root, ballast = disk / "tiny", disk / "ballast"
        command = Command(settings, root, tmp_path / "log")
        for moment in MOMENTS:
            code, printed = command.run(moment, ballast)
            ballast.unlink()
            assert code == 2, printed
            assert "Traceback" not in printed and "Exception" not in printed, printed
            (sentence,) = [line for line in printed.splitlines() if line.startswith("salus: ")]
            assert sentence.startswith(f"salus: The disk of {disk}")
            assert "is full (No space left on device); free space there, then run the same command again" in sentence
            assert not (root / "cycles" / "01" / "decision.json").exists()
        code, printed = command.run()
        assert code == 0, printed
        assert results(root) == results(aligned.folder.root)
        assert not list(root.rglob("*.tmp"))
