"""`salus logs`: of the session that works, else of the last one that was kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.contract.session_logs import SessionLogs
from actors.files.worker_logs import keep_logs
from pipelines.cli.main import app
from pipelines.runs.checksums import file_names
from tests.pipelines.cli.controls import controls
from tests.pipelines.cli.refused import refused

NAME = f"worker-{'0a' * 28}-01000000-77.out"


@pytest.fixture
def working(run: RunFolder, tmp_path: Path) -> Path:
    """The file of a worker of a run that is under way."""
    ray = tmp_path / "ray"
    ray.mkdir()
    (ray / NAME).write_text(":actor_name:Generator\n\x1b[2Jloading\n:actor_name:Judge\nasking\n")
    run.session_logs.write_text(SessionLogs(folder=str(ray), job="01000000").model_dump_json())
    return ray / NAME


def printed(*arguments: str) -> list[str]:
    result = CliRunner().invoke(app, ["logs", *arguments])
    assert result.exit_code == 0, result.output
    assert controls(result.stdout) == set()
    return result.stdout.splitlines()


def test_a_run_that_works(run: RunFolder, working: Path) -> None:
    assert printed(str(run.root)) == ["Generator(77) \\x1b[2Jloading", "Judge(77) asking"]
    assert printed(str(run.root), "--actor", "judge") == ["Judge(77) asking"]


def test_it_is_followed_to_the_end_of_its_session(run: RunFolder, working: Path) -> None:
    def end() -> None:
        with working.open("a") as file:
            file.write("more\n")
        run.session_logs.unlink()

    later = threading.Timer(1.0, end)
    later.start()
    assert printed(str(run.root), "--follow", "--actor", "judge") == ["Judge(77) asking", "Judge(77) more"]
    later.join()


def test_a_run_that_has_ended(run: RunFolder, working: Path) -> None:
    before = list(file_names(run))
    keep_logs(working.parent, "01000000", run.worker_logs)
    run.session_logs.unlink()
    assert printed(str(run.root), "--actor", "judge") == ["Judge(77) asking"]
    # They are of this machine, and not among what the run vouches for.
    assert list(file_names(run)) == before


def test_what_there_is_none_of_gets_a_sentence(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is not a run folder" in refused(capsys, "logs", str(tmp_path / "none"))
    assert "A session that was killed keeps no logs" in refused(capsys, "logs", str(run.root))


def test_an_unknown_actor_names_those_there_are(
    run: RunFolder, working: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there are Generator, Judge" in refused(capsys, "logs", str(run.root), "--actor", "trainer")
