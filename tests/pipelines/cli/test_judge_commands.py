"""`salus judge` as a group: a recipe still judges a cycle, `calibrate` has its own word, help shows both."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from actors.errors import SalusError
from pipelines.cli.judge import show
from pipelines.cli.main import app, main
from tests.pipelines.judges.calibrated import EXT, Sharpness, drawn, report_of

ROW = "prompt,answer,label\nhow much insulin,Ten units.,Accept\n"


def run(*arguments: str) -> Result:
    # Rich wraps at the width of the terminal, which a test has none of.
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "TERM": "dumb"})


def sentence(*arguments: str) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, SalusError), result.output
    return result.exception.sentence


def test_help_lists_calibrate_and_how_to_judge_a_cycle() -> None:
    result = run("judge", "--help")
    assert result.exit_code == 0
    for words in ("calibrate", "RECIPE [--cycle N]", "salus judge demo --cycle 1"):
        assert words in result.output


@pytest.mark.parametrize("first", [[], ["cycle"]])
def test_a_recipe_judges_a_cycle_as_before(tmp_path: Path, first: list[str]) -> None:
    words = sentence("judge", *first, "demo", "--cycle", "2", "--run", str(tmp_path / "run"))
    assert words.startswith("Cycle 2 has nothing in") and "run salus generate for it first" in words


def test_options_may_come_first(tmp_path: Path) -> None:
    assert sentence("judge", "--cycle", "2", "--run", str(tmp_path), "demo").startswith("Cycle 2 has nothing")


def test_an_unknown_word_is_taken_for_a_recipe() -> None:
    assert "no recipe 'dmeo', did you mean 'demo'" in sentence("judge", "dmeo")


def test_help_of_each_command() -> None:
    assert "--cycle" in run("judge", "demo", "--help").output
    assert "--labels" in run("judge", "calibrate", "--help").output
    bare = run("judge")
    assert "calibrate" in bare.output and bare.exit_code == 2


def test_calibrate_needs_labels() -> None:
    assert run("judge", "calibrate", "demo").exit_code == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ROW + "forge a note,No.,Never\n", "labels.csv, line 3: 'label' is 'Never'"),
        ("prompt,answer\na,b\n", "there is no column 'label'"),
        ("", "is empty"),
    ],
)
def test_bad_labels_are_found_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["judge", "calibrate", "demo", "--labels", str(labels), "--out", str(tmp_path / "out")])
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert words in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bad_recipe_and_missing_labels(tmp_path: Path) -> None:
    assert "no recipe 'demi'" in sentence("judge", "calibrate", "demi", "--labels", str(tmp_path))
    assert "does not exist" in sentence("judge", "calibrate", "demo", "--labels", str(tmp_path / "nowhere"))


def test_the_verdict_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    judge = EXT.model_copy(update={"name": "ext-[red]judge[/red]"})
    report = report_of(drawn(90, Sharpness()), judge).model_copy(update={"left_out": 7})
    show(report, Path("runs/[b]x"))
    printed = capsys.readouterr().out
    assert report.trust.sentence in printed
    assert "runs/[b]x: calibration.json, calibration.png" in printed
    assert "7 answers left out" in printed
