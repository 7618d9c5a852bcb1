"""`salus runs verify`, held against coreutils' own sha256sum."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.main import app
from pipelines.runs.checksums import check_sums, run_hash, write_sums
from pipelines.runs.lease.lease import hold
from tests.pipelines.cli.refused import refused
from tests.quiet_reporter import QuietReporter


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    for name in ("summary.json", "cycles/01/decision.json", "ray_train/state", ".summary.json.7.tmp"):
        path = folder.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return folder


def test_the_sums_are_those_of_sha256sum(run: RunFolder) -> None:
    assert run_hash(run) is None
    sums = write_sums(run)
    assert [line.split("  ")[1] for line in run.sums.read_text().splitlines()] == [
        "cycles/01/decision.json",
        "summary.json",
    ]
    assert sums == run_hash(run) == hashlib.sha256(run.sums.read_bytes()).hexdigest()
    assert write_sums(run) == sums
    if (coreutils := shutil.which("sha256sum")) is None:
        pytest.skip("no sha256sum here")
    subprocess.run([coreutils, "--check", "--strict", "--quiet", run.sums.name], cwd=run.root, check=True)


def test_an_intact_run_is_named_by_its_hash(run: RunFolder) -> None:
    sums = write_sums(run)
    result = CliRunner().invoke(app, ["runs", "verify", str(run.root)])
    assert result.exit_code == 0
    assert result.output.replace("\n", "").endswith(f"2 files as the run left them, run hash {sums}")


def test_a_lease_is_no_file_of_the_run(run: RunFolder) -> None:
    sums = write_sums(run)
    with hold(run.root, 60, QuietReporter().say):
        assert write_sums(run) == sums
        assert check_sums(run).intact
    assert check_sums(run).intact


def test_what_was_changed_removed_or_added_is_named(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write_sums(run)
    run.summary.write_text("better", encoding="utf-8")
    (run.cycle(1) / "decision.json").unlink()
    (run.root / "late.json").touch()
    said = refused(capsys, "runs", "verify", str(run.root))
    assert "(changed: summary.json; missing: cycles/01/decision.json; added: late.json)" in said
    assert not check_sums(run).intact


def test_a_run_without_sums_and_sums_changed_by_hand_are_refused(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds no SHA256SUMS" in refused(capsys, "runs", "verify", str(run.root))
    write_sums(run)
    run.sums.write_text(run.sums.read_text() + "no sum\n", encoding="utf-8")
    assert "line 3 is not a sum and a name" in refused(capsys, "runs", "verify", str(run.root))


def test_a_name_that_takes_two_lines_is_refused(run: RunFolder) -> None:
    (run.root / "two\nlines").touch()
    with pytest.raises(SalusError, match="line break"):
        write_sums(run)
