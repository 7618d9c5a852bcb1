"""The report: what is written, what is not, what is missing, and how it is printed and refused."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.judges.judge import JudgmentTask
from pipelines.serving.shadow.judgments import SIDE_SCHEMA
from pipelines.serving.shadow.report import JUDGMENTS, REPORT, ShadowReport, report_shadow, shadow_tables
from tests.pipelines.cli.refused import refused
from tests.pipelines.judges.test_calibrate import in_process, recipe
from tests.pipelines.serving.shadow.recorded import SAYS, kept, labelled, record


def test_it_is_written_beside_the_records_and_holds_no_text(tmp_path: Path) -> None:
    pairs = [("Accept", "Refuse")] * 20 + [("Refuse", "Refuse")] * 20
    folder = kept(tmp_path / "shadow", labelled(*pairs))  # type: ignore[arg-type]
    report = report_shadow(recipe(), folder, folder / "judged", None, in_process())
    judgments = pq.read_table(folder / "judged" / JUDGMENTS)
    assert judgments.schema == SIDE_SCHEMA and judgments.num_rows == 80
    rows = {(row["answer_id"], row["side"]): row["label"] for row in judgments.to_pylist()}
    assert rows["chatcmpl-003", "live"] == "Accept" and rows["chatcmpl-003", "challenger"] == "Refuse"
    assert ShadowReport.model_validate_json((folder / "judged" / REPORT).read_text()) == report
    assert report.judge.name == "refusal-rules" and len(report.comparisons) == 1
    assert sorted(path.name for path in (folder / "judged").iterdir()) == [JUDGMENTS, REPORT]
    written = b"".join(path.read_bytes() for path in (folder / "judged").iterdir())
    assert b"tablet" not in written and b"question 3" not in written
    # Once more, over it, with what came since.
    kept(folder, labelled(("Accept", "Accept"), start=100))
    assert report_shadow(recipe(), folder, folder / "judged", None, in_process()).comparisons[0].requests == 41


def test_a_judge_without_a_word_leaves_pairs_out(tmp_path: Path) -> None:
    folder = kept(tmp_path / "shadow", labelled(("Accept", "Refuse"), ("Accept", "Accept"), ("Refuse", "Refuse")))
    pool = in_process()

    def silent(tasks: Sequence[JudgmentTask]) -> None:
        pool(tasks)
        for task in tasks:
            table = pq.read_table(task.output)
            labels = [None if i == 0 else label for i, label in enumerate(table["label"].to_pylist())]
            at = table.column_names.index("label")
            pq.write_table(table.set_column(at, table.schema.field("label"), [labels]), task.output)

    (found,) = report_shadow(recipe(), folder, tmp_path / "out", None, silent).comparisons
    assert found.sides["live"].coverage == pytest.approx(2 / 3) and found.sides["challenger"].coverage == 1.0
    refusals = found.differences["Refuse"]
    assert (found.requests, found.paired, found.disagreements) == (3, 2, 0)
    assert refusals is not None and (refusals.value, refusals.n) == (0.0, 2)


def test_only_a_policy_that_judges_itself_is_loaded(tmp_path: Path) -> None:
    folder = kept(tmp_path / "shadow", labelled(("Accept", "Refuse")))
    seen: list[PolicyRef | None] = []
    pool = in_process()

    def watching(tasks: Sequence[JudgmentTask]) -> None:
        seen.extend(task.weights for task in tasks)
        pool(tasks)

    weights = PolicyRef(version="c0-base", path="/models/base")
    report_shadow(recipe("judge.regimen=SELF"), folder, tmp_path / "self", weights, watching)
    assert set(seen) == {weights}


def test_the_leavings_of_a_killed_report_go_and_those_of_a_running_one_stay(tmp_path: Path) -> None:
    folder = kept(tmp_path / "shadow", labelled(("Accept", "Refuse")))
    old, new = folder / "judged" / ".judging-old", folder / "judged" / ".judging-new"
    for place in (old, new):
        (place / "rollouts").mkdir(parents=True)
    os.utime(old, (0, 0))
    report_shadow(recipe(), folder, folder / "judged", None, in_process())
    assert not old.exists() and new.exists()


def test_judgments_of_other_answers_are_refused(tmp_path: Path) -> None:
    folder = kept(tmp_path / "shadow", labelled(*[("Accept", "Refuse")] * 40))  # type: ignore[arg-type]
    pool = in_process()
    with pytest.raises(SalusError, match="are not those of the records"):
        report_shadow(recipe(), folder, tmp_path / "out", None, lambda tasks: pool(tasks[:-1]))
    assert not (tmp_path / "out" / JUDGMENTS).exists()


def test_it_is_printed_with_what_it_does_not_say(tmp_path: Path) -> None:
    records = [record(i, SAYS["Accept"], SAYS["Refuse"], policy="[bold]live") for i in range(4)]
    report = report_shadow(recipe(), kept(tmp_path / "shadow", records), tmp_path / "out", None, in_process())
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(shadow_tables(report))
    shown = " ".join(console.export_text().split())
    assert "c2-kto in the shadow of [bold]live, by refusal-rules: 4 requests in 4 conversations" in shown
    # Four of four: (.025 ** .25) = .398 at least.
    assert "share Refuse 0.000 (0.00-0.60) 1.000 (0.40-1.00) +1.000 (-0.20 to +1.00)" in shown
    assert "live, of 4 disagreements" in shown and "no known harm level" in shown


def test_what_is_refused_gets_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "shadow", "report", "demo", "--folder", str(tmp_path), "--set", "judge.regimen=RULES")
    assert "holds no answers of a challenger; name the endpoint's shadow.folder" in said
