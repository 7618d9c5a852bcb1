"""Feedback among other rows, through real Ray Data."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import RowKind
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder, write_table
from pipelines.alignment.preference import Beside, build_rows
from pipelines.config.preference import FeedbackRowsConfig, PreferenceConfig
from pipelines.config.scores import ScoreTable
from pipelines.feedback.snapshot import snapshot_feedback
from tests.actors.serve.feedback.given import captured, said, write_folder
from tests.rows import judgments, prompt

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TABLE = ScoreTable()
REFUSAL = "I can't help with that."


def judged(folder: Path) -> Path:
    for shard in range(4):
        rows = [(prompt(i, 0), text, label) for i in range(shard * 10, shard * 10 + 10) for text, label in ANSWERS]
        write_table(judgments(rows), folder / f"{shard}.parquet")  # type: ignore[arg-type]
    return folder


ANSWERS = (("Here is how.", "Accept"), (REFUSAL, "Refuse"))


def given(folder: Path, count: int) -> Path:
    answers = [captured(f"{i}", f"asked {i}", "Sure.", caller=f"c{i % 5}") for i in range(count)]
    words = [
        said(f"{i}", "down", caller=f"c{i % 5}") if i % 2 else said(f"{i}", "corrected", "No.", caller=f"c{i % 5}")
        for i in range(count)
    ]
    return write_folder(folder, answers, words)


@pytest.mark.parametrize("kind", ["unpaired", "pairs"])
def test_feedback_is_shuffled_in_up_to_its_share(ray_session: None, tmp_path: Path, kind: RowKind) -> None:
    run = RunFolder(tmp_path / "run")
    source = judged(tmp_path / "judged")
    asked = FeedbackRowsConfig(path=str(given(tmp_path / "feedback", 300)), trusted_only=None, max_share=0.2)
    config = PreferenceConfig(max_class_ratio=100, feedback=asked, rows_per_file=30)
    snapshot_feedback(asked, run, 1)

    def built(name: str, seed: int = 1, of: PreferenceConfig = config) -> tuple[dict[str, bytes], int, int]:
        beside = Beside(feedback=run.feedback(1))
        report = build_rows(kind, [source], tmp_path / name, of, TABLE, seed, beside)
        files = {f.name: f.read_bytes() for f in sorted((tmp_path / name).glob("*.parquet"))}
        return files, report.rows, report.feedback

    alone = PreferenceConfig(max_class_ratio=100, rows_per_file=30)
    _, own, none = built("own", of=alone)
    files, rows, said_rows = built("one")
    assert none == 0 and said_rows == own // 4 and rows == own + said_rows
    assert built("again")[0] == files and built("other", seed=2)[0] != files
    made = read_folder(tmp_path / "one")
    prompts = [str(p) for p in made["prompt"].to_pylist()]
    assert sum(p.startswith("asked") for p in prompts) == said_rows
    # They lie among the others, not behind them.
    half = prompts[: len(prompts) // 2]
    assert 0.2 < sum(p.startswith("asked") for p in half) / said_rows < 0.8
    own_rows = read_folder(tmp_path / "own").drop_columns(["order"]).to_pylist()
    kept = made.drop_columns(["order"]).to_pylist()
    assert all(row in kept for row in own_rows)


def test_a_folder_without_feedback_changes_nothing(ray_session: None, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    source = judged(tmp_path / "judged")
    asked = FeedbackRowsConfig(path=str(given(tmp_path / "feedback", 0)))
    snapshot_feedback(asked, run, 1)
    with_it = PreferenceConfig(feedback=asked)
    one = build_rows("unpaired", [source], tmp_path / "one", with_it, TABLE, 1, Beside(feedback=run.feedback(1)))
    other = build_rows("unpaired", [source], tmp_path / "other", PreferenceConfig(), TABLE, 1)
    assert one == other
    assert read_folder(tmp_path / "one") == read_folder(tmp_path / "other")
