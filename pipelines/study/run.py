"""A study, read aloud: models built, one Ray up, cells a few at a time, Ray down, one report of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actors.files.private import private_files
from actors.files.shards import write_text
from pipelines.cluster.progress import Reporter
from pipelines.config.load import save_recipe
from pipelines.runs.lease.lease import hold
from pipelines.runs.several import StudyFolder
from pipelines.study.cells import Cell, cells_of
from pipelines.study.config import StudyConfig
from pipelines.study.figures import draw_study
from pipelines.study.fleet.member import Failure, check_folder, open_members, unfinished
from pipelines.study.fleet.together import divided, read_cost, run_together
from pipelines.study.results import StudyReport, study_report
from pipelines.study.tables import study_page


def study_root(study: StudyConfig, run: Path | None) -> Path:
    """Where a study is: as told, or `runs/NAME-sSEED`."""
    return run or Path("runs") / f"{study.name}-s{study.seed}"


@private_files()
def run_study(study: StudyConfig, root: Path, reporter: Reporter, fresh: bool = False) -> StudyReport:
    """Run all cells of a study, or what is left of them; returns the report written to its folder.

    A cell that fails stops no other; the report names it, and the same call goes on with it.

    Args:
        root: the study's folder; cells that are complete there are not started.
        fresh: forget what the study's cells hold.

    Raises:
        SalusError: whatever the user can mend, before anything costly where that can be known. Also where another
            process is at work in the folder, or has taken it over.
    """
    folder = StudyFolder(root)
    cells = cells_of(study, folder)
    # Nothing is left in a folder of something else, not even a lease.
    check_folder(folder, "study")
    with hold(folder.root, study.cluster.lease_s, reporter.say) as lease:
        open_study(study, folder, cells, fresh, reporter)
        left = unfinished(cells, reporter)
        failed: dict[str, Failure] = {}
        if left:
            # Fewer at once where there is no room for as many.
            division = divided(left, study.side_by_side, study.share)
            failed = run_together(division, folder, study.cluster, reporter, lease)
        return write_report(study, folder, cells, failed)


def open_study(study: StudyConfig, folder: StudyFolder, cells: Sequence[Cell], fresh: bool, reporter: Reporter) -> None:
    """Set the study's folder up, or take a known one up again; what it was asked for is written there.

    For the holder of the study's lease. A cell's run folder has a lease of its own, which its process takes.

    Raises:
        SalusError: it is something else, or a cell was begun with other settings; or a cell that `fresh` forgets is
            at work.
    """
    check_folder(folder, "study")
    open_members(folder, cells, study.cluster.lease_s, reporter, fresh)
    save_recipe(study, folder.settings)


def write_report(
    study: StudyConfig, folder: StudyFolder, cells: Sequence[Cell], failed: dict[str, Failure]
) -> StudyReport:
    """Read all cells, write `study.json`, `study.md` and the figures, and return the report."""
    report = study_report(study, cells, failed, read_cost(folder), folder.harness)
    figures = draw_study(report, folder)
    write_text(study_page(report, figures), folder.page)
    write_text(report.model_dump_json(indent=2), folder.report)
    return report
