"""Twenty cycles while a process of the run is killed every twenty seconds; the same command goes on after each end.

By hand (`make soak`): it takes the better part of an hour, and prints what happened.
"""

from __future__ import annotations

import collections
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from actors.contract.records import PROMPT_SCHEMA
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder, read_shard, shard_files, strings
from pipelines.runs.checksums import check_sums
from pipelines.runs.finished.audit import audit
from tests.e2e.conftest import TINY
from tests.e2e.processes import running

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(7200)]

CYCLES = 20
# Shards of prompts in a cycle, and answers for each prompt, as tiny.yaml has them.
SHARDS, K = 16, 4
EVERY_S = 20.0
SEED = 11
# The driver, and by what Ray calls them the processes that work for a run; the last word of a title tells the method.
VICTIMS = (
    "driver", "VllmGenerator", "RecipeJudge", "RayTrainWorker", "TrainController", "PublishingCoordinator",
    "ServeController", "ServeReplica", "ProxyActor",
)  # fmt: skip
# Without replay a cycle is as long as the one before.
CHANGES = [f"cycles={CYCLES}", "preference.replay=false"]


class Soak:
    """One run folder, the command that works in it, and whom chance has killed."""

    def __init__(self, settings: list[str], root: Path) -> None:
        overrides = [part for setting in (*settings, *CHANGES) for part in ("--set", setting)]
        self._command = [sys.executable, "-m", "pipelines.cli.main", "align", str(TINY), "--run", str(root), *overrides]
        self._log = root.with_suffix(".log")
        self._chance = random.Random(SEED)
        self.killed: collections.Counter[str] = collections.Counter()
        self.starts = 0

    def start(self) -> psutil.Popen:
        self.starts += 1
        with self._log.open("ab") as log:
            return psutil.Popen(self._command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def kill_one(self, driver: psutil.Popen) -> None:
        """Kill a random process of a random kind, if one of that kind is there."""
        kind = self._chance.choice(VICTIMS)
        there = [psutil.Process(driver.pid)] if kind == "driver" else running(kind)
        if there:
            self._chance.choice(there).kill()
            self.killed[kind] += 1

    def run(self) -> int:
        """Until the command ends well; returns its exit code."""
        while True:
            driver = self.start()
            started: list[psutil.Process | psutil.Popen] = [driver]
            while driver.poll() is None:
                try:
                    driver.wait(timeout=EVERY_S)
                except psutil.TimeoutExpired:
                    started += driver.children(recursive=True)
                    self.kill_one(driver)
            # Those of a killed driver notice by themselves.
            assert psutil.wait_procs(set(started), timeout=300)[1] == []
            if driver.returncode == 0:
                return 0
            assert self.starts < 3 * CYCLES, self._log.read_text()[-4000:]


def test_every_cycle_is_complete_after_twenty_cycles_of_kills(settings: list[str], tmp_path: Path) -> None:
    root = tmp_path / "tiny"
    soak = Soak(settings, root)
    began = time.monotonic()
    assert soak.run() == 0
    wall_s = time.monotonic() - began
    folder = RunFolder(root)
    checked = check_sums(folder)
    decisions = audit(folder)
    print(
        f"{CYCLES} cycles, {wall_s:.0f} s, {soak.starts} starts, {sum(soak.killed.values())} kills "
        f"({', '.join(f'{kind} {n}' for kind, n in sorted(soak.killed.items()))}), {checked.files} files intact, "
        f"run hash {checked.run_hash}"
    )
    assert checked.intact
    assert len(decisions) == CYCLES
    assert [each.differences for each in decisions] == [[]] * CYCLES
    for cycle in range(1, CYCLES + 1):
        check_complete(folder, cycle)


def check_complete(folder: RunFolder, cycle: int) -> None:
    """Every prompt of the cycle's shards has its k answers, in order, and each answer its judgment."""
    shards = shard_files(folder.rollouts(cycle))
    assert len(shards) == SHARDS
    # A shard of answers is called as its shard of prompts; the last one of a split may be short.
    prompts = [folder.prompts("train") / shard.name for shard in shards]
    expected = [
        (prompt, sample)
        for shard in prompts
        for prompt in strings(read_shard(shard, PROMPT_SCHEMA), "prompt_id")
        for sample in range(K)
    ]
    rollouts, judgments = read_folder(folder.rollouts(cycle)), read_folder(folder.judgments(cycle))
    answered = zip(strings(rollouts, "prompt_id"), rollouts["sample"].to_pylist(), strict=True)
    assert list(answered) == expected
    assert strings(judgments, "rollout_id") == strings(rollouts, "rollout_id")
