"""A run that lies on an S3 server: its machine dies, and the same command on another one brings it to the same end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import TINY
from tests.e2e.faults import results, wait_until
from tests.e2e.whole_run import Aligned
from tests.s3_server import make_bucket, reaching, s3_server

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]
BUCKET = "salus-e2e"
ADDRESS = f"s3://{BUCKET}/team/tiny"


@pytest.fixture
def server() -> Iterator[str]:
    with s3_server() as url:
        make_bucket(url, BUCKET)
        yield url


class Machine:
    """A machine of the team: what it has of a run lies in a cache of its own."""

    def __init__(self, cache: Path, server: str) -> None:
        self._cache = cache
        self._environment: Mapping[str, str] = {**os.environ, **reaching(server), "SALUS_CACHE": str(cache)}

    @property
    def folder(self) -> Path:
        (folder,) = self._cache.glob("runs/*/tiny")
        return folder

    def start(self, *arguments: str) -> psutil.Popen:
        command = [sys.executable, "-m", "pipelines.cli.main", *arguments]
        return psutil.Popen(
            command, env=self._environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *arguments: str) -> str:
        """What a command prints; it must succeed."""
        process = self.start(*arguments)
        printed, _ = process.communicate()
        text = str(printed, encoding="utf-8")
        assert process.returncode == 0, text
        return text


def naming(place: Path, root: Path) -> list[str]:
    """The records of a run that name a place of one machine."""
    records = (path for suffix in ("json", "jsonl", "yaml") for path in root.rglob(f"*.{suffix}"))
    shown = (path for path in records if not any(p.startswith(".") for p in path.relative_to(root).parts))
    return [path.name for path in shown if str(place) in path.read_text()]


def test_another_machine_takes_up_a_run_whose_machine_died(
    aligned: Aligned, deployed: Path, settings: list[str], server: str, tmp_path: Path
) -> None:
    first, second, auditor = (Machine(tmp_path / name, server) for name in ("first", "second", "auditor"))
    models = tmp_path / "models of the first"
    for role in ("policy", "judge"):
        shutil.copytree(deployed / role, models / role)
    own = [f"model.path={models / 'policy'}", f"judge.path={models / 'judge'}", "self_contained=true"]
    overrides = [part for setting in (*settings, *own) for part in ("--set", setting)]
    command = ["align", str(TINY), "--run", ADDRESS, *overrides]
    driver = first.start(*command)
    wait_until(lambda: any((tmp_path / "first").glob("runs/*/tiny/cycles/02/rollouts/*.parquet")))
    started = [driver, *driver.children(recursive=True)]
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert psutil.wait_procs(started, timeout=90)[1] == []
    # The other machine has the run and nothing else.
    shutil.rmtree(models)
    # What the first cycle decided is not decided anew.
    # The other machine has its engines end while trainers train; the files are the same for all that.
    assert "cycle 1:" not in second.run(*command, "--set", "cluster.placement=by_turns")
    made = {name: of for name, of in results(second.folder).items() if not name.startswith("models/")}
    assert made == results(aligned.folder.root)
    assert naming(tmp_path / "first", second.folder) == naming(tmp_path / "second", second.folder) == []
    assert "run hash" in auditor.run("runs", "verify", ADDRESS)
    assert auditor.run("runs", "audit", ADDRESS).count("nothing") == len(aligned.summary.cycles)
    assert "2/2" in auditor.run("runs", "list", f"s3://{BUCKET}/team")
