"""Two policies at once on the whole stack: one is killed, the other decides as it does alone, the first is resumed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from actors.contract.run_folder import RunFolder
from pipelines.cli.main import main
from pipelines.config.cluster import SHARED
from pipelines.config.load import load_run_recipe
from pipelines.decision.record import Decision, read_decision
from pipelines.registry.store import Registry
from pipelines.runs.several import FleetFolder
from pipelines.serving.settings import load_settings
from tests.e2e.conftest import TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]

SMALL = ("cycles=1", "generate.actors=1", "train.workers_per_run=1")
# Until a killed policy has judged answers.
PATIENCE_S = 600


@pytest.fixture(scope="module")
def file(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny policy twice, with one judge, one generator and one trainer of each kind for both."""
    place = tmp_path_factory.mktemp("fleets")
    fleet = {
        "name": "wards",
        "recipe": str(TINY),
        "set": [*settings, *SMALL],
        "registries": str(place / "registries"),
        "promote": True,
        "share": ["judges", "generators", "trainers"],
        "policies": [{"name": "north"}, {"name": "south", "weight": 2}],
    }
    path = place / "wards.yaml"
    path.write_text(yaml.safe_dump(fleet), encoding="utf-8")
    return path


def ended(*arguments: str) -> int | str | None:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def killed_once(recipe: Path, there: Callable[[], bool]) -> threading.Thread:
    """Kills the process that aligns a recipe once something is there."""

    def kill() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not there() and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in psutil.Process().children(recursive=True):
            if str(recipe) in process.cmdline():
                process.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def alone(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Decision:
    """What the policy decides when it is aligned by itself."""
    root = tmp_path_factory.mktemp("runs") / "alone"
    changes = [part for each in (*settings, *SMALL, "publish.enabled=false") for part in ("--set", each)]
    assert ended("align", str(TINY), "--run", str(root), *changes) == 0
    return read_decision(RunFolder(root).decision(1))


@pytest.fixture(scope="module")
def root(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fleet's folder after a run in which south's process was killed while it judged."""
    root = tmp_path_factory.mktemp("runs") / "wards"
    folder = FleetFolder(root)
    judged = folder.run("south").judgments(1)
    thread = killed_once(folder.recipe("south"), lambda: any(judged.glob("*.parquet")))
    assert ended("fleet", str(file), "--run", str(root)) == 2, folder.log("north").read_text()
    thread.join()
    return root


def test_a_killed_policy_leaves_the_other_alone_which_decides_as_by_itself(
    root: Path, alone: Decision, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = FleetFolder(root)
    assert read_decision(folder.run("north").decision(1)) == alone
    assert not folder.run("south").decision(1).exists()
    # Both asked the same actors: neither was told to start any of these.
    assert list(load_run_recipe(folder.run("north").recipe).cluster.shared) == list(SHARED)
    assert not folder.trainers.exists()

    # The same command goes on with what is left.
    assert ended("fleet", str(file), "--run", str(root)) == 0, folder.log("south").read_text()
    assert "policy north is complete" in capsys.readouterr().err
    assert read_decision(folder.run("south").decision(1)) == alone

    serve = load_settings(folder.serving)
    assert list(serve.named) == ["north", "south"]
    for name, policy in serve.named.items():
        assert policy.registry is not None
        current = Registry(policy.registry).history.current()
        assert current is not None and current.startswith(f"{name}-s5-c1-{alone.chosen}")


def test_nothing_is_left_running(root: Path) -> None:
    left = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert not [line for line in left if "ray::" in line or "pipelines.cli.main" in line]
