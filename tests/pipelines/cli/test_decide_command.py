"""`salus decide`: one decision made again, of a run's cycle or of any judged answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.files.shards import write_table, write_text
from pipelines.cli.main import app
from pipelines.decision.record import read_decision
from pipelines.runs.checksums import file_sums
from tests.pipelines.cli.refused import refused
from tests.pipelines.finished import BY_RULES, LOOSE, PROMPTS, answers
from tests.pipelines.runs.finished.made import RunMaker

RULE = [part for setting in (*BY_RULES, LOOSE) for part in ("--set", setting)]


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["decide", "demo", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def judged_folders(tmp_path: Path) -> tuple[str, str]:
    for name, right in (("c0-base", 0), ("c1-kto", PROMPTS)):
        write_table(answers(name, right), tmp_path / name / "part-00000.parquet")
    return str(tmp_path / "c0-base"), f"kto={tmp_path / 'c1-kto'}"


def test_a_cycle_is_decided_again_and_nothing_is_touched(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    before = file_sums(folder)
    page = told("--run", str(folder.root), "--cycle", "1", "--html", str(tmp_path / "page.html"))
    assert page == folder.decision_text(1).read_text() and "kto wins" in page
    assert (tmp_path / "page.html").read_text() == folder.decision_html(1).read_text()
    assert file_sums(folder) == before


def test_a_record_that_says_otherwise_is_told(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    changed = read_decision(folder.decision(1)).model_copy(update={"chosen": "champion", "publish": False})
    write_text(changed.model_dump_json(), folder.decision(1))
    said = told("--run", str(folder.root), "--cycle", "1")
    assert "kto wins" in said and "the record of cycle 1 says otherwise: champion, not published" in said
    # Another rule chooses otherwise, too.
    assert "stays" in told("--run", str(folder.root), "--cycle", "1", *RULE, "--set", "decide.min_gain=0.9")


def test_any_judged_answers_are_decided_on(tmp_path: Path) -> None:
    champion, kto = judged_folders(tmp_path)
    page = told("--champion", champion, "--challenger", kto, *RULE)
    assert page.startswith("# Decision of cycle 1 (rule of demo, seed 7, on given answers)\n")
    assert "kto wins" in page and "outside a run" in page


def test_bad_input_is_one_sentence(tmp_path: Path, made_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    champion, kto = judged_folders(tmp_path)

    def says(*arguments: str) -> str:
        return refused(capsys, "decide", "demo", *arguments)

    run = ("--run", str(made_run(tmp_path / "run").root))
    assert "Name a cycle of the run" in says()
    assert "Cycle 2 of" in says(*run, "--cycle", "2") and "is not a run folder" in says(
        "--run", champion, "--cycle", "1"
    )
    assert "add --champion" in says("--challenger", kto)
    assert "no challenger to compare" in says("--champion", champion)
    assert "not of the form NAME=DIR" in says("--champion", champion, "--challenger", "kto")
    assert "cannot name a challenger" in says("--champion", champion, "--challenger", f"champion={champion}")
    assert "names kto twice" in says("--champion", champion, "--challenger", kto, "--challenger", kto)
    assert "no folder of judged answers" in says("--champion", str(tmp_path / "none"), "--challenger", kto)
    assert "There are no control labels" in says("--champion", champion, "--challenger", kto, "--control", "none")
    assert "cannot be written" in says(*run, "--cycle", "1", "--html", str(tmp_path))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "part-00000.parquet").write_bytes(b"no table")
    assert "not a readable Parquet file" in says("--champion", str(tmp_path / "broken"), "--challenger", kto)


def test_an_audit_holds_pages_against_their_records(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    assert "The page of" not in audited(folder)
    write_text(folder.decision_text(1).read_text().replace("kto wins", "dpo wins"), folder.decision_text(1))
    assert "The page of cycle 1 is not what its record" in audited(folder)
    folder.decision_text(1).unlink()
    assert "The page of" not in audited(folder)


def audited(folder: RunFolder) -> str:
    result = CliRunner().invoke(app, ["runs", "audit", str(folder.root)])
    assert result.exit_code == 0, result.output
    return result.output
