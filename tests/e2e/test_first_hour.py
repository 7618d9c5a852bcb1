"""The README's way from a finished run to a policy that answers the openai client, typed as it is printed there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipelines.registry.store import Registry
from tests.e2e.whole_run import Aligned
from tests.free_port import free_port
from tests.root import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

README = ROOT / "README.md"
SALUS = [sys.executable, "-m", "pipelines.cli.main"]
START_S = 300.0
# What the README says of the demo, which takes minutes.
RUN, ADDRESS = "runs/demo-s7", "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Way:
    """The README's lines: commands that end, the one that serves, and the program that asks."""

    commands: list[list[str]]
    serve: list[str]
    program: str

    @property
    def version(self) -> str:
        """The demo's policy that the README promotes."""
        [promoted] = [command[-1] for command in self.commands if command[1:3] == ["policy", "promote"]]
        return promoted


@pytest.fixture(scope="module")
def way() -> Way:
    text = README.read_text(encoding="utf-8")
    found = re.search(r"\n```\n(salus policy register [^`]+)```\n.*?\n```python\n([^`]+)```", text, re.DOTALL)
    assert found is not None, "the README shows no way from a run to the openai client"
    *commands, serve = (shlex.split(line, comments=True) for line in found[1].splitlines())
    assert serve[:2] == ["salus", "serve"] and ADDRESS in found[2]
    return Way(commands, serve, found[2])


@contextmanager
def serving(command: list[str], place: Path) -> Iterator[None]:
    log = place / "serve.log"
    with log.open("w") as out:
        server = psutil.Popen(command, cwd=place, stdout=out, stderr=out, start_new_session=True)
        try:
            deadline = time.monotonic() + START_S
            while "until Ctrl-C" not in log.read_text():
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            yield
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=120) == 0
        finally:
            if server.is_running():
                os.killpg(server.pid, signal.SIGKILL)


def test_from_a_finished_run_to_the_openai_client(aligned: Aligned, way: Way, tmp_path: Path) -> None:
    """No length is set, and the policy holds fewer tokens than an endpoint's usual number."""
    folder = aligned.recipe.publish.registry
    assert folder is not None
    last = Registry(folder).entries()[-1].version
    (tmp_path / "runs").mkdir()
    (tmp_path / RUN).symlink_to(aligned.folder.root)
    port = free_port()
    said = [
        subprocess.run(
            [*SALUS, *(last if word == way.version else word for word in command[1:])],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for command in way.commands
    ]
    assert f"{last} is current" in said[1]
    key = said[2].strip()
    with serving([*SALUS, *way.serve[1:], "--set", f"publish.port={port}"], tmp_path):
        program = way.program.replace(ADDRESS, f"http://127.0.0.1:{port}")
        answer = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"OPENAI_API_KEY": key},
        )
        assert answer.stdout.strip()
