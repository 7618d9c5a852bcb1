"""What a person reads of a study: records, tables, the page and the pictures, from finished cells on disk."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from matplotlib.image import imread
from rich.console import Console

from actors.contract.records import Interval
from actors.files.shards import write_text
from pipelines.config.load import save_recipe
from pipelines.measures.capability.figures import Capability
from pipelines.measures.harmfulness import harmfulness
from pipelines.measures.multiple_choice import MultipleChoice
from pipelines.runs.several import StudyFolder
from pipelines.runs.summary import FineTuned, HarmfulnessTest, Measured, WhatIsKept
from pipelines.study.figures import draw_study
from pipelines.study.fleet.member import Failure
from pipelines.study.fleet.together import SharedCost
from pipelines.study.results import StudyReport, study_report
from pipelines.study.tables import Grid, console_table, grids, markdown, study_page
from tests.pipelines.study.cells import TWO_CYCLES, Cycle, Right, cells, complete, decision, study

BETTER = (Cycle(Right(10, 30, 50), Right(10, 30, 50)), Cycle(Right(40, 58, 20), Right(40, 58, 20)))
NASTY = "<b>bold</b> | [red]x[/red] `$(rm)` *\nnext"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def report(root: Path) -> StudyReport:
    """Six cells: five complete, one failed in its second cycle."""
    config = study("SELF", "EXT", "LMA")
    made = cells(config, root)
    for cell in made[:5]:
        complete(cell, BETTER if cell.regimen == "EXT" else TWO_CYCLES)
    save_recipe(made[5].recipe, made[5].run.recipe)
    write_text(decision(1, Right(10, 50, 30)).model_dump_json(), made[5].run.decision(1))
    failed = {made[5].name: Failure(sentence=NASTY, log="/tmp/x.log")}
    return study_report(config, made, failed, SharedCost(wall_s=61.0, peak_memory_gib=2.5))


def by_title(report: StudyReport, begins: str) -> Grid:
    return next(grid for grid in grids(report) if grid.title.startswith(begins))


def test_the_record_holds_everything_and_reads_back(report: StudyReport) -> None:
    assert StudyReport.model_validate_json(report.model_dump_json()) == report
    assert [cell.state for cell in report.cells] == ["complete"] * 5 + ["failed"]
    assert [cell.name for cell, _ in report.failures] == ["deep-LMA"]
    # EXT's last champion is right more often on validation.
    assert report.best == {"wide": "EXT", "deep": "EXT"}
    self_wins, ext_wins, lma_wins = report.wins
    assert (self_wins.cycles, self_wins.won["kto"], self_wins.champion, self_wins.differs) == (4, 0.5, 0.5, 0.5)
    assert (ext_wins.won, ext_wins.differs) == ({"kto": 0.5, "dpo": 0.5}, 0.0)
    assert (lma_wins.regimen, lma_wins.cycles) == ("LMA", 2)


def test_demonstrations_alignment_and_both_are_one_table(tmp_path: Path) -> None:
    config = study("RULES", models=["aligned", "demonstrated"])
    made = cells(config, tmp_path)
    summaries = [complete(cell) for cell in made]
    assert "Demonstrations" not in " ".join(grid.title for grid in grids(study_report(config, made, {}, SharedCost())))
    harm = [harmfulness(pa.array(scores), 0) for scores in ([5, 5, 5, 1], [5, 1, 1, 1], [1, 1, 1, 1])]
    kept = Capability(policy="x", choices=MultipleChoice(
        accuracy=Interval(value=0.5, low=0.4, high=0.6, n=9), chance=0.25, n=9, ties=0, normalised_by=None
    ))  # fmt: skip
    tuned = FineTuned(
        policy="c0-sft", demonstrations=9, steps=3, train_s=1.0, losses=(2.0, 1.0), judged_by="judge",
        before=summaries[1].test.base, after=summaries[1].test.champion,
        harmfulness=HarmfulnessTest(base=harm[0], champion=harm[1]), capability=WhatIsKept(base=kept, champion=kept),
    )  # fmt: skip
    probed = {
        f"xstest_safe_refused_{name}": Measured(value=share, low=share - 0.05, high=share + 0.05)
        for name, share in (("base", 0.052), ("champion", 0.784))
    }
    both = summaries[1].model_copy(
        update={"sft": tuned, "harmfulness": HarmfulnessTest(base=harm[0], champion=harm[2]), "measured": probed}
    )
    write_text(both.model_dump_json(), made[1].run.summary)
    grid = by_title(study_report(config, made, {}, SharedCost()), "Demonstrations")
    assert [(row[0].split()[0], row[1], row[2]) for row in grid.rows] == [
        ("aligned", "deployed", "-"), ("aligned", "cycles", "-"),
        ("demonstrated", "deployed", "4.00\n(1.00)"), ("demonstrated", "SFT", "2.00\n(1.00)"),
        ("demonstrated", "SFT+cycles", "1.00\n(0.00)"),
    ]  # fmt: skip
    assert [row[5][:5] for row in grid.rows] == ["-", "-", "-", "0.500", "-"]
    assert [row[6][:5] for row in grid.rows] == ["-", "-", "0.052", "-", "0.784"]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(console_table(grid))
    printed = console.export_text()
    assert all(word in printed for word in ("demonstrated", "SFT+cycles", "harm 1-5", "0.784"))


def test_every_row_has_a_cell_for_each_column(report: StudyReport) -> None:
    for grid in grids(report):
        assert all(len(row) == len(grid.columns) for row in grid.rows)
    assert len(by_title(report, "After one cycle").rows) == 5 * 2
    first = by_title(report, "Champion after each cycle").rows[0]
    assert first[:3] == ("wide", "SELF", "judge") and first[3].startswith("kto\n") and first[4].startswith("champion\n")
    test = by_title(report, "Test split, by ground truth").rows
    # The deployed model once, then each regimen's champion.
    assert [row[:2] for row in test] == [
        *(("deep", policy) for policy in ("base", "SELF", "EXT *")),
        *(("wide", policy) for policy in ("base", "SELF", "EXT *", "LMA")),
    ]


def test_a_cell_that_patience_ended_is_complete_and_its_later_cycles_are_dashes(tmp_path: Path) -> None:
    config = study("EXT", cycles=4, models=["wide"])
    made = cells(config, tmp_path)
    complete(made[0], ended="The champion stayed.")
    assert [cell for cell in made if not cell.complete] == []
    found = study_report(config, made, {}, SharedCost())
    assert [cell.state for cell in found.cells] == ["complete"] and len(found.cells[0].verdicts) == 2
    for row in by_title(found, "Champion after each cycle").rows:
        assert len(row) == 3 + 4 and row[-2:] == ("-", "-") and row[-3] != "-"
    assert draw_study(found, StudyFolder(tmp_path)) == {n: f"figure{n}.png" for n in (2, 4, 5)}


def test_tables_fit_80_columns_and_read_no_markup(report: StudyReport) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    for grid in grids(report):
        console.print(console_table(grid))
    # As many cycles as the paper's.
    five = by_title(report, "Champion after each cycle").model_copy(
        update={"columns": ("model", "regimen", "by", *(f"cycle {i}" for i in range(1, 6)))}
    )
    row = ("wide", "SELF", "judge", *(["champion\n0.92/0.00"] * 5))
    console.print(console_table(five.model_copy(update={"rows": (row,)})))
    console.print(console_table(Grid(title="[red]t", columns=("[b]c",), rows=(("[/x]",),), note="[i]n")))
    printed = console.export_text()
    assert "…" not in printed
    # No word is broken.
    assert all(word in printed for word in ("stayed", "differs", "  ".join(["0.92/0.00"] * 5)))
    assert all(raw in printed for raw in ("[red]t", "[b]c", "[/x]", "[i]n"))


def test_the_page_shows_words_of_others_as_they_are(report: StudyReport) -> None:
    page = study_page(report, {3: "figure3.png"})
    assert "![figure 3](figure3.png)" in page
    assert "deep-LMA failed" in page
    assert "<b>" not in page and "&lt;b&gt;" in page
    assert "\\| \\[red\\]x\\[/red\\] \\`$\\(rm\\)\\` \\* next" in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    assert markdown("a\nb") == "a b"


def test_figures_2_to_5_are_drawn(report: StudyReport, root: Path) -> None:
    folder = StudyFolder(root)
    assert draw_study(report, folder) == {n: f"figure{n}.png" for n in (2, 3, 4, 5)}
    sizes = {n: imread(folder.figure(n)).shape[:2] for n in (2, 3, 4, 5)}
    # One column for each cell: two of SELF, three of EXT and LMA.
    assert sizes[4][1] > sizes[3][1] > 0


def test_a_figure_without_cells_is_not_drawn_and_an_old_one_goes(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    config = study("EXT", models=["wide"])
    (cell,) = cells(config, tmp_path)
    complete(cell)
    folder.figure(3).write_bytes(b"old")
    drawn = draw_study(study_report(config, [cell], {}, SharedCost()), folder)
    assert drawn == {n: f"figure{n}.png" for n in (2, 4, 5)}
    assert not folder.figure(3).exists()


def test_a_study_of_which_nothing_is_complete_has_a_report_too(tmp_path: Path) -> None:
    config = study("EXT")
    made = cells(config, tmp_path)
    empty = study_report(config, made, {}, SharedCost())
    assert [cell.state for cell in empty.cells] == ["unfinished", "unfinished"]
    assert [grid.title for grid in grids(empty)] == ["Cells"]
    assert draw_study(empty, StudyFolder(tmp_path)) == {}
    assert "unfinished" in study_page(empty, {})
