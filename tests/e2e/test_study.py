"""A study on the whole stack: two validators of one policy, side by side in one Ray cluster, then taken up again."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import ray
import yaml

from pipelines.cli.main import main
from pipelines.runs.several import StudyFolder
from pipelines.study.results import StudyReport
from tests.e2e.conftest import TINY

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def recipe(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cycle of the tiny policy, judged by its trained judge and by refusal rules."""
    path = tmp_path_factory.mktemp("studies") / "pair.yaml"
    study = {
        "name": "pair",
        "seed": 5,
        "cycles": 1,
        "recipe": str(TINY),
        "set": [*settings, "generate.actors=1", "train.workers_per_run=1"],
        "models": [{"name": "tiny"}],
        "regimens": [{"name": "EXT"}, {"name": "RULES"}],
        "side_by_side": 2,
        "share": ["judges", "generators", "trainers"],
    }
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def root(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's folder after its command has come to its end."""
    root = tmp_path_factory.mktemp("runs") / "pair"
    with pytest.raises(SystemExit) as ended:
        main(["study", str(recipe), "--run", str(root)])
    assert ended.value.code == 0, "\n".join(log.read_text() for log in root.glob("cells/*.log"))
    return root


def report(root: Path) -> StudyReport:
    return StudyReport.model_validate_json(StudyFolder(root).report.read_text(encoding="utf-8"))


def test_both_cells_learn_from_the_same_deployed_policy(root: Path) -> None:
    cells = report(root).complete
    assert [cell.name for cell, _ in cells] == ["tiny-EXT", "tiny-RULES"]
    for _, summary in cells:
        assert summary.test.base.ss and summary.test.champion.ss
        assert summary.test.champion.ss.value > summary.test.base.ss.value
    bases = [summary.test.base for _, summary in cells]
    assert bases[0] == bases[1]


def test_the_cells_ran_at_the_same_time(root: Path) -> None:
    folder = StudyFolder(root)
    runs = [folder.run(name) for name in ("tiny-EXT", "tiny-RULES")]
    # A run begins with its recipe and ends with its summary.
    assert max(run.recipe.stat().st_mtime for run in runs) < min(run.summary.stat().st_mtime for run in runs)


def test_figures_and_tables_are_written(root: Path) -> None:
    folder = StudyFolder(root)
    assert folder.page.is_file()
    # No cell judges itself, so Figure 3 has nothing to show.
    assert [n for n in (2, 3, 4, 5) if folder.figure(n).is_file()] == [2, 4, 5]
    assert {wins.regimen for wins in report(root).wins} == {"EXT", "RULES"}
    assert report(root).cost.peak_memory_gib > 1


def test_a_complete_study_is_not_run_again(root: Path, recipe: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in root.glob("cells/**/*.parquet")}
    with pytest.raises(SystemExit) as ended:
        main(["study", str(recipe), "--run", str(root)])
    assert ended.value.code == 0
    assert {file: file.stat().st_mtime_ns for file in root.glob("cells/**/*.parquet")} == before


def test_nothing_is_left_running(root: Path) -> None:
    assert not ray.is_initialized()
    left = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert not [line for line in left if "ray::" in line or "pipelines.cli.main" in line]
