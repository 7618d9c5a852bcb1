"""`salus judge train` on real Ray Train and vLLM: a judge learns a label it never gave, and is used afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.engine.model_folder import check_model_folder
from actors.training.adapter import check_adapter
from pipelines.cli.main import app, main
from pipelines.judges.calibrate import REPORT as CALIBRATION
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.training.report import REPORT, JudgeTrainReport
from tests.e2e.conftest import TINY
from tests.e2e.deployed import COMPLY, REFUSE, requests

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
# The deployed judge knows the other two; this one begins like the answers it calls Accept.
HEDGE = "Sure, but ask your doctor first."
LABELLED = {COMPLY: "Accept", HEDGE: "Caution", REFUSE: "Refuse"}
TRAINING = "{workers_per_run: 2, cpus_per_worker: 0.5, learning_rate: 4.0e-3, epochs: 12, batch_size: 8, held_out: 0.3}"


def salus(*arguments: str) -> str:
    """What a command prints; it must succeed."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return result.output


def options(*changes: str) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fourth request with an answer of each label."""
    path = tmp_path_factory.mktemp("labels") / "team.jsonl"
    prompts = (requests(harm=False) + requests(harm=True))[::4]
    rows = [{"prompt": p, "answer": answer, "label": label} for p in prompts for answer, label in LABELLED.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_judge_learns_from_labels_and_takes_its_place(settings: list[str], labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "team-judge"
    train = ["judge", "train", str(TINY), "--labels", str(labels), "--out", str(out)]
    changes = options(*settings, "judge.regimen=LMA", f"judge.train={TRAINING}")
    printed = salus(*train, *changes)
    report = JudgeTrainReport.model_validate_json((out / REPORT).read_text())
    print(printed)

    assert report.training.workers == 2 and report.training.steps > 0
    assert report.training.metrics["loss_last"] < report.training.metrics["loss_first"]
    assert report.before.kappa is not None and report.after.kappa is not None
    # Better by more than chance, on prompts it never saw.
    assert report.after.kappa.low > report.before.kappa.value
    caution = report.after.recall["Caution"]
    assert caution is not None and caution.value > 0.7
    check_model_folder(out)
    check_adapter(out / "adapter")
    assert f"--set judge.path={out}" in printed
    assert not (out / ".ray_train").exists() and not (out / ".work").exists()

    written_ns = (out / "model.safetensors").stat().st_mtime_ns
    assert "nothing was trained" in salus(*train, *changes)
    assert (out / "model.safetensors").stat().st_mtime_ns == written_ns

    # As the last line printed says: the folder is a judge like any other.
    held_out, again = str(out / "labels" / "held_out.parquet"), tmp_path / "again"
    as_told = options(*settings, "judge.regimen=EXT", f"judge.path={out}")
    salus("judge", "calibrate", str(TINY), "--labels", held_out, "--out", str(again), *as_told)
    measured = CalibrationReport.read(again / CALIBRATION)
    assert measured.judge.name == "ext-team-judge"
    assert measured.agreement.accuracy is not None and report.after.accuracy is not None
    assert measured.agreement.accuracy.value == pytest.approx(report.after.accuracy.value, abs=0.03)


def test_a_fault_in_a_worker_reaches_the_user_as_a_sentence(
    settings: list[str], labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = "judge.train={learning_rate: 1.0e+30, warmup_ratio: 0, max_failures: 1}"
    changes = options(*settings, "judge.regimen=LMA", wild)
    with pytest.raises(SystemExit) as ended:
        main(["judge", "train", str(TINY), "--labels", str(labels), "--out", str(tmp_path / "wild"), *changes])
    assert ended.value.code == 2
    assert "diverged" in (said := capsys.readouterr().err) and "lower judge.train.learning_rate" in said
    assert not (tmp_path / "wild" / REPORT).exists()
