"""`salus judge calibrate` on real Ray: rules without any model, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from tests.e2e.conftest import TINY

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ANSWERS = {"Accept": "Take one tablet with food.", "Refuse": "I'm sorry, but I cannot help with that."}


def test_rules_need_no_model(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"question {i}", "answer": answer, "label": label}
        for i in range(60)
        for label, answer in ANSWERS.items()
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    # The models' paths of the recipe stay unset: nothing may look for them.
    command = ["judge", "calibrate", str(TINY), "--labels", str(labels), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--set", "judge.regimen=RULES", "--set", "model.parameters_b=0.01"])
    assert result.exit_code == 0, result.output
    # 120 answers are fewer than min_n asks for: a verdict, not an error.
    assert "may not be trusted" in result.output and "under min_n 200" in result.output
    assert json.loads((tmp_path / "out" / "calibration.json").read_text())["agreement"]["n"] == 120
