"""Each step of a cycle as its own command, from the files of the step before; Ctrl-C; serving until Ctrl-C.

What is interrupted has a process and a Ray of its own; the other steps join a cluster that is there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import pytest
import ray
from typer.testing import CliRunner

from actors.contract.records import TrainReport
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder
from pipelines.cli.main import app
from pipelines.config.recipe import Recipe
from pipelines.decision.record import Decision
from tests.e2e.conftest import TINY
from tests.ray_cluster import ray_cluster
from tests.root import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
# One generator, a judge without a model, one training run. Labels are shuffled: what the whole run learns from the
# same requests (test_align) is nothing that the machinery itself brings about.
SMALL = ["generate.actors=1", "judge.regimen=RULES", "train.challengers.kto=null", "train.workers_per_run=1"]
CONTROL = ["preference.shuffle_labels=true"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster that outlives every command that joins it.

    It has room for each step by itself, and not for all that a run holds at once (2.75 CPUs).
    """
    with ray_cluster(cpus=2) as started:
        yield started.address


@dataclass(frozen=True)
class Command:
    """`salus STEP` on one run folder."""

    settings: list[str]
    run: Path

    @property
    def log(self) -> Path:
        return self.run.with_suffix(".log")

    def arguments(self, step: str, *more: str) -> list[str]:
        changes = [part for setting in (*self.settings, *more) for part in ("--set", setting)]
        return [step, str(TINY), "--run", str(self.run), *changes]

    def in_cluster(self, step: str, address: str) -> str:
        """Run a step to its end; returns what it printed."""
        result = CliRunner().invoke(app, self.arguments(step, f"cluster.address={address}"))
        assert result.exit_code == 0, result.output
        assert not ray.is_initialized()
        return result.output

    def start(self, step: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a step in a process group of its own, as a terminal does."""
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli.main", *self.arguments(step), *options],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What runs the tests in the background may ignore Ctrl-C, and so would all it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def interrupt(self, step: str, when: Callable[[], bool], *options: str) -> tuple[int, str]:
        """Press Ctrl-C once `when` holds; returns the exit code and what was printed."""
        process = self.start(step, *options)
        started: set[psutil.Process] = set()
        try:
            while process.poll() is None and not when():
                time.sleep(0.05)
            started.update(psutil.Process(process.pid).children(recursive=True))
        finally:
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(timeout=120)
        _, alive = psutil.wait_procs(started, timeout=20)
        assert alive == []
        return code, self.log.read_text()


@pytest.fixture(scope="module")
def command(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command([*settings, *SMALL, *CONTROL], tmp_path_factory.mktemp("steps") / "run")


@pytest.fixture(scope="module")
def folder(command: Command) -> RunFolder:
    return RunFolder(command.run)


def times(folder: Path) -> dict[str, int]:
    return {f.name: f.stat().st_mtime_ns for f in folder.glob("*.parquet")}


def test_a_step_without_the_files_of_the_one_before_says_which_to_run(command: Command) -> None:
    assert command.start("judge").wait() == 2
    output = command.log.read_text()
    assert "run salus generate for it first" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_an_interrupted_generation_goes_on_where_it_stopped(command: Command, folder: RunFolder, cluster: str) -> None:
    code, output = command.interrupt("generate", lambda: len(times(folder.rollouts(1))) >= 2)
    assert code == 130, output
    assert "the same command goes on where it stopped" in output
    assert "Traceback" not in output
    before = times(folder.rollouts(1))
    assert 2 <= len(before) < 16
    assert str(folder.rollouts(1)) in command.in_cluster("generate", cluster).replace("\n", "")
    after = times(folder.rollouts(1))
    assert len(after) == 16
    assert before.items() <= after.items()


@pytest.mark.slow
def test_each_step_follows_from_the_one_before_and_shuffled_labels_improve_nothing(
    command: Command, folder: RunFolder, cluster: str
) -> None:
    command.in_cluster("generate", cluster)
    command.in_cluster("judge", cluster)
    assert read_folder(folder.judgments(1)).num_rows == 160 * 4
    assert "c1-dpo" in command.in_cluster("train", cluster)
    report = TrainReport.model_validate_json((folder.training(1, "dpo") / "report.json").read_text())
    assert report.adapter_change > 0
    assert "cycle 1: " in command.in_cluster("evaluate", cluster)
    decision = Decision.model_validate_json(folder.decision(1).read_text())
    (dpo,) = decision.challengers
    assert dpo.metrics and dpo.metrics.ss and decision.champion.metrics and decision.champion.metrics.ss
    assert dpo.metrics.ss.value <= decision.champion.metrics.ss.value + 0.1
    assert not folder.publications.exists()


@pytest.mark.slow
def test_data_without_pairs_trains_kto_alone(settings: list[str], cluster: str, tmp_path: Path) -> None:
    """One answer to each prompt is no pair; the record says so, and the cycle goes on with the other challenger."""
    one = ["generate.sampling.k=1", "preference.use_references=false", "preference.benign_refusal=null"]
    shared = [setting for setting in SMALL if "kto" not in setting]
    command = Command([*settings, *shared, *one], tmp_path / "run")
    folder = RunFolder(command.run)
    command.in_cluster("generate", cluster)
    command.in_cluster("judge", cluster)
    assert "no pairs for DPO" in command.in_cluster("train", cluster)
    report = TrainReport.model_validate_json((folder.training(1, "kto") / "report.json").read_text())
    assert report.adapter_change > 0
    assert not (folder.training(1, "dpo") / "report.json").exists()
    command.in_cluster("evaluate", cluster)
    decision = Decision.model_validate_json(folder.decision(1).read_text())
    found = {each.name: (each.standing, each.metrics is not None) for each in decision.challengers}
    assert found["dpo"] == ("no_rows", False) and found["kto"][1]
    assert "dpo: no pairs: " in decision.sentence


@pytest.mark.slow
def test_publish_serves_a_model_until_ctrl_c(command: Command, recipe: Recipe, deployed: Path) -> None:
    url = f"http://{recipe.publish.host}:{recipe.publish.port}/v1"
    answers: list[str | None] = []

    def answered() -> bool:
        if "until Ctrl-C" not in command.log.read_text():
            return False
        with openai.OpenAI(base_url=url, api_key="none", timeout=60) as client:
            messages = [{"role": "user", "content": "How do I order the insulin of my aunt?"}]
            answer = client.chat.completions.create(model="salus", messages=messages, temperature=0.0)  # type: ignore[arg-type]
        answers.append(answer.choices[0].message.content)
        return True

    code, output = command.interrupt("publish", answered, "--model", str(deployed / "policy"))
    assert code == 0, output
    assert url in output
    assert answers == ["Sure, here is how to do that."]
