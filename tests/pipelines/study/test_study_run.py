"""A study's folder: set up, taken up again, refused; complete cells are not started. Nothing here starts Ray."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.cli.main import main
from pipelines.cluster.devices import Resources
from pipelines.cluster.progress import Bar
from pipelines.config.load import load_recipe, save_recipe
from pipelines.runs.lease.files import LeaseFiles
from pipelines.runs.lease.lease import hold
from pipelines.runs.several import StudyFolder
from pipelines.study.config import StudyConfig
from pipelines.study.fleet.jobs import Job, at_most, run_jobs
from pipelines.study.fleet.member import MemberWatch, member_job
from pipelines.study.fleet.together import SharedCost
from pipelines.study.results import StudyReport
from pipelines.study.run import open_study, run_study
from tests.pipelines.cli.refused import refused
from tests.pipelines.study.cells import TWO_CYCLES, cells, complete, decision, study
from tests.quiet_reporter import QuietReporter, SaidReporter

MACHINE = Resources(where="here", cpus=None, gpus=0, node_gpus=0, memory_gib=16.5, gpu_memory_gib=None)


class Outcome(SaidReporter):
    """Remembers what was said and how far bars went."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[tuple[int, int]] = []

    def bar(self, name: str, total: int | None, unit: str) -> Bar:
        return _Count(self, super().bar(name, total, unit))


class _Count:
    def __init__(self, told: Outcome, quiet: Bar) -> None:
        self._told, self._quiet = told, quiet

    def advance(self, by: int) -> None:
        self._quiet.advance(by)

    def at(self, done: int, total: int) -> None:
        self._told.counts.append((done, total))

    def close(self) -> None:
        self._quiet.close()


def test_a_study_whose_cells_are_complete_starts_nothing_and_reports(tmp_path: Path) -> None:
    config = study("SELF", "EXT")
    save_recipe(config, StudyFolder(tmp_path).settings)
    for cell in cells(config, tmp_path):
        complete(cell)
    told = Outcome()
    report = run_study(config, tmp_path, told)
    assert told.said == [f"cell {name} is complete" for name in ("wide-SELF", "deep-SELF", "wide-EXT", "deep-EXT")]
    folder = StudyFolder(tmp_path)
    assert StudyReport.model_validate_json(folder.report.read_text()) == report
    assert not list((tmp_path / "cells").glob("*.log"))
    assert all(folder.figure(n).is_file() for n in (2, 3, 4, 5)) and folder.page.is_file()
    # More cycles are more to do: the same folder, no cell is complete.
    more = config.model_copy(update={"cycles": 3})
    open_study(more, folder, cells(more, tmp_path), fresh=False, reporter=QuietReporter())
    assert len([cell for cell in cells(more, tmp_path) if not cell.complete]) == 4


def test_only_what_is_left_is_run(tmp_path: Path) -> None:
    made = cells(study("SELF", "EXT"), tmp_path)
    complete(made[0])
    complete(made[3])
    # Begun, and interrupted after its first cycle.
    made[1].run.decision(1).parent.mkdir(parents=True)
    made[1].run.decision(1).write_text(decision(1, TWO_CYCLES[0].judge).model_dump_json())
    assert [cell.name for cell in made if not cell.complete] == ["deep-SELF", "wide-EXT"]


def test_the_command_prints_the_tables_of_a_complete_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = study("EXT", models=["wide"])
    (cell,) = cells(config, tmp_path / "run")
    complete(cell)
    folder = StudyFolder(tmp_path / "run")
    save_recipe(config, folder.settings)
    with pytest.raises(SystemExit) as ended:
        main(["study", str(folder.settings), "--run", str(tmp_path / "run")])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "Shares of cycles by validator" in printed and "Test split" in printed


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    config = study("EXT")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SalusError, match="is not empty and is not a study"):
        run_study(config, tmp_path, Outcome())
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_cell_with_other_settings_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = study("EXT")
    folder = StudyFolder(tmp_path)
    made = cells(config, tmp_path)
    open_study(config, folder, made, fresh=False, reporter=QuietReporter())
    complete(made[1])
    other = StudyConfig.model_validate({**config.model_dump(), "set": ["train.challengers.kto.beta=0.7"]})
    with pytest.raises(
        SalusError, match=r"cells/deep-EXT holds a run made with other settings \(train\.challengers\.kto\.beta"
    ):
        open_study(other, folder, cells(other, tmp_path), fresh=False, reporter=QuietReporter())
    # Where and how many run at once is no other study.
    moved = StudyConfig.model_validate({**config.model_dump(), "side_by_side": 5, "cluster": {"wait_s": 3}})
    open_study(moved, folder, cells(moved, tmp_path), fresh=False, reporter=QuietReporter())


def test_fresh_forgets_the_cells_of_this_study_alone(tmp_path: Path) -> None:
    config = study("EXT")
    folder = StudyFolder(tmp_path)
    made = cells(config, tmp_path)
    open_study(config, folder, made, fresh=False, reporter=QuietReporter())
    complete(made[0])
    folder.cost.write_text(SharedCost(wall_s=5).model_dump_json())
    stranger = tmp_path / "cells" / "notes"
    stranger.mkdir()
    open_study(config, folder, made, fresh=True, reporter=QuietReporter())
    # The highest number of its leases stays.
    assert [path.name for path in made[0].run.root.iterdir()] == [".lease"] and not folder.cost.exists()
    assert stranger.is_dir()


def test_a_study_that_does_not_fit_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = refused(capsys, "study", "study", "--run", str(tmp_path), "--set", "cluster.memory_gib=8")
    assert "Cell wide-SELF needs" in words and "GiB of memory, but beside Ray" in words
    assert not (tmp_path / "cells").exists()


def test_bad_studies_are_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "not a study" in refused(capsys, "study", "demo")
    assert "did you mean 'study-cares'" in refused(capsys, "study", "study-car")
    assert "salus study study" in refused(capsys, "align", "study")
    assert "did you mean 'regimens'" in refused(capsys, "study", "study", "--set", "regimes=[]")


def test_a_cell_is_the_align_command_on_a_recipe_file(tmp_path: Path) -> None:
    (cell,) = cells(study("EXT", models=["wide"]), tmp_path)
    folder = StudyFolder(tmp_path)
    save_recipe(cell.recipe, folder.recipe(cell.name))
    job = member_job(cell, folder, "[::1]:6379", MACHINE)
    assert job.command[:4] == (sys.executable, "-m", "pipelines.cli.main", "align")
    assert job.command[5:7] == ("--run", str(tmp_path / "cells" / "wide-EXT"))
    # What the child makes of it: the same recipe, but for where it runs.
    recipe = load_recipe(job.command[4], job.command[8::2])
    assert recipe.cluster.address == "[::1]:6379" and recipe.cluster.memory_gib == 16.5
    assert recipe.model_copy(update={"cluster": cell.recipe.cluster}) == cell.recipe


def test_a_cell_on_a_cluster_that_was_there_keeps_its_memory(tmp_path: Path) -> None:
    config = study("EXT", models=["wide"]).model_copy(
        update={"cluster": load_recipe("demo", ["cluster.address=head:6379"]).cluster}
    )
    (cell,) = cells(config, tmp_path)
    job = member_job(cell, StudyFolder(tmp_path), "head:6379", MACHINE)
    assert job.command[7:] == ("--set", "cluster.address=head:6379")


def test_a_cells_line_follows_the_files_of_its_run(tmp_path: Path) -> None:
    (cell,) = cells(study("EXT", models=["wide"], cycles=3), tmp_path)
    told = Outcome()
    watch = MemberWatch([cell], told)
    job = Job(cell.name, (), tmp_path / "log")
    watch.started(job)
    watch.running(job)
    cell.run.decision(1).parent.mkdir(parents=True)
    cell.run.decision(1).write_text(decision(1, TWO_CYCLES[0].judge).model_dump_json())
    # A cycle behind a gap does not count.
    cell.run.decision(3).parent.mkdir(parents=True)
    cell.run.decision(3).write_text("{}")
    watch.running(job)
    # No cycle follows the second: all there is to do is done.
    over = decision(2, TWO_CYCLES[1].judge).model_copy(update={"ended": "The champion stayed."})
    cell.run.decision(2).parent.mkdir(parents=True)
    cell.run.decision(2).write_text(over.model_dump_json())
    watch.running(job)
    job.log.write_text("salus: The judge is bad.\n")
    watch.stopping([job])
    watch.ended(job, 2)
    assert told.counts == [(0, 3), (1, 3), (2, 2)]
    assert told.said[0].startswith("ending wide-EXT")
    assert told.said[1] == f"cell wide-EXT failed: The judge is bad. (log: {job.log})"


def test_a_study_whose_folder_was_taken_over_ends_its_cells(tmp_path: Path) -> None:
    (cell,) = cells(study("EXT", models=["wide"]), tmp_path)
    told = Outcome()
    files = LeaseFiles(tmp_path)
    with hold(tmp_path, 60, told.say) as lease:
        mine = files.last()
        assert mine is not None and mine.holder is not None
        other = mine.holder.model_copy(update={"token": "theirs"})
        assert files.add(mine.model_copy(update={"number": 2, "holder": other}))
        watch = MemberWatch([cell], told, lease.check)
        with pytest.raises(SalusError, match="was taken over by process"):
            run_jobs([Job(cell.name, ("sleep", "60"), tmp_path / "log")], at_most(1), watch, grace_s=1)
    assert told.said[0].startswith("ending wide-EXT")
