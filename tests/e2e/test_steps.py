"""Each step of a cycle as its own command, from the files of the step before; Ctrl-C; serving until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import openai
import psutil
import pytest

from actors.records import TrainReport
from actors.run_folder import RunFolder
from actors.tables import read_folder
from pipelines.config.recipe import Recipe
from pipelines.decide import Decision
from tests.e2e.conftest import TINY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
# One generator, a judge without a model, one short training: here the commands are tested, not what they make.
SMALL = ["generate.actors=1", "judge.regimen=RULES", "train.algorithms=[dpo]", "train.workers_per_run=1"]
SHORT = ["train.dpo.epochs=1", "data.validation=40", "decide.gate.min_n=5"]


@dataclass(frozen=True)
class Command:
    """`salus` in a process group of its own, as a terminal starts it."""

    settings: list[str]
    run: Path

    @property
    def log(self) -> Path:
        return self.run.with_suffix(".log")

    def start(self, step: str, *options: str) -> subprocess.Popen[bytes]:
        changes = [part for setting in self.settings for part in ("--set", setting)]
        run = ["--run", str(self.run), *changes, *options]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli.main", step, str(TINY), *run],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What runs the tests in the background may ignore Ctrl-C, and so would all it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def __call__(self, step: str, code: int = 0) -> str:
        """Run a step to its end; returns what it printed."""
        ended = self.start(step).wait()
        output = self.log.read_text()
        assert ended == code, output
        return output

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
    return Command([*settings, *SMALL, *SHORT], tmp_path_factory.mktemp("steps") / "run")


@pytest.fixture(scope="module")
def folder(command: Command) -> RunFolder:
    return RunFolder(command.run)


def times(folder: Path) -> dict[str, int]:
    return {f.name: f.stat().st_mtime_ns for f in folder.glob("*.parquet")}


def test_a_step_without_the_files_of_the_one_before_says_which_to_run(command: Command) -> None:
    output = command("judge", code=2)
    assert "run salus generate for it first" in output
    assert "Traceback" not in output


def test_an_interrupted_generation_goes_on_with_the_same_command(command: Command, folder: RunFolder) -> None:
    code, output = command.interrupt("generate", lambda: len(times(folder.rollouts(1))) >= 2)
    assert code == 130, output
    assert "the same command goes on where it stopped" in output
    assert "Traceback" not in output
    before = times(folder.rollouts(1))
    assert 2 <= len(before) < 16
    assert str(folder.rollouts(1)) in command("generate").replace("\n", "")
    after = times(folder.rollouts(1))
    assert len(after) == 16
    assert before.items() <= after.items()


def test_each_step_goes_on_from_the_files_of_the_one_before(command: Command, folder: RunFolder) -> None:
    command("judge")
    assert read_folder(folder.judgments(1)).num_rows == 160 * 4
    assert "c1-dpo" in command("train")
    report = TrainReport.model_validate_json((folder.training(1, "dpo") / "report.json").read_text())
    assert report.steps > 0
    assert "cycle 1: " in command("evaluate")
    decision = Decision.model_validate_json(folder.decision(1).read_text())
    assert decision.chosen in ("dpo", "champion")
    assert not folder.publications.exists()


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
