"""Inside a Ray job: its cluster is joined, its log gets lines, and no place of a run is one that Ray deletes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from actors.errors import SalusError
from pipelines.alignment.ready import check_ready
from pipelines.cluster.progress import RichReporter
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import load_recipe
from pipelines.runs.open import hold_run
from pipelines.serving.cluster import check_serving_places
from pipelines.serving.settings import load_settings
from tests.quiet_reporter import QuietReporter

# What Ray 2.60's job manager sets for the command of a job.
JOB = '{"runtime_env": {"working_dir": "gcs://_ray_pkg_c162f1e334cee44b.zip"}, "metadata": {"job_name": "a"}}'


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a job's command."""
    folder = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_c162f1e334cee44b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", JOB)
    return folder


def test_a_job_joins_its_cluster_unless_told_another(monkeypatch: pytest.MonkeyPatch) -> None:
    # Users set this one for the `ray job` command itself.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert ClusterConfig().joined is None
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", JOB)
    assert ClusterConfig().joined == "auto"
    assert ClusterConfig(address="10.0.0.1:6379").joined == "10.0.0.1:6379"
    # What a run's folder keeps of its recipe says nothing of the job.
    assert ClusterConfig().model_dump()["address"] is None


def test_a_run_that_ray_would_delete_is_refused_before_anything_is_written(copy: Path, tmp_path: Path) -> None:
    recipe = load_recipe("demo")
    refused = pytest.raises(SalusError, match=r"The run folder runs/demo-s7 is in Ray's copy")
    with refused, hold_run(recipe, Path("runs/demo-s7"), QuietReporter()):
        pass
    with refused:
        check_ready(recipe, QuietReporter(), Path("runs/demo-s7"))
    for setting in ("publish.registry", "publish.feedback.folder"):
        changed = load_recipe("demo", [f"{setting}=kept"])
        with (
            pytest.raises(SalusError, match=f"{setting} kept is in Ray's copy"),
            hold_run(changed, tmp_path / "run", QuietReporter()),
        ):
            pass
    assert list(copy.iterdir()) == []
    assert not (tmp_path / "run").exists()


def test_an_endpoint_whose_records_ray_would_delete_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="The registry registry is in Ray's copy"):
        check_serving_places(load_settings(None, []), Path("registry"))
    settings = load_settings(None, ["publish.feedback.folder=said"])
    with pytest.raises(SalusError, match=r"publish\.feedback\.folder said is in Ray's copy"):
        check_serving_places(settings, tmp_path / "registry")
    check_serving_places(load_settings(None, []), tmp_path / "registry")


def test_the_log_of_a_job_gets_whole_lines_also_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", JOB)
    log = io.StringIO()
    reporter = RichReporter(Console(file=log, width=40, force_terminal=True))
    with reporter.live():
        bar = reporter.bar("cycle 1: judging the answers of all contenders", 40, "answers")
        bar.advance(40)
        bar.close()
        reporter.say("a sentence that is longer than forty letters stays one line")
    assert log.getvalue().splitlines() == [
        "cycle 1: judging the answers of all contenders: 40 of 40 answers, 0 s, done",
        "a sentence that is longer than forty letters stays one line",
    ]
