"""What a judging step shows of its judge: its mean coverage, and a warning where rules read another language."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from actors.files.shards import write_table
from pipelines.alignment.streamed import judging_notes
from pipelines.config.judge import JudgeConfig
from pipelines.config.load import load_recipe
from tests.rows import judgments, prompt

SPANISH = "Lo siento, pero no puedo ayudarte con eso."
ENGLISH = "I'm sorry, but I can't help with that."
EXT = load_recipe("llama-3.1-8b").judge
RULES = load_recipe("demo", ["judge.regimen=RULES"]).judge


def judged(folder: Path, answers: list[str], coverage: list[float]) -> list[Path]:
    """Two shards."""
    paths = []
    for shard in range(2):
        rows = judgments([(prompt(i), answer, "Refuse") for i, answer in enumerate(answers)])
        at = rows.schema.get_field_index("coverage")
        rows = rows.set_column(at, rows.schema.field(at), pa.array(coverage, pa.float32()))
        paths.append(folder / f"{shard}.parquet")
        write_table(rows, paths[-1])
    return paths


def test_mean_coverage_is_shown_for_judges_that_may_give_no_label(tmp_path: Path) -> None:
    files = judged(tmp_path, [ENGLISH, SPANISH], [0.9, 0.5])
    assert list(judging_notes(EXT, files)) == [
        "mean coverage of the judge 0.700 (share of its replies that are labels), n 4"
    ]
    # A shard that is not there yet counts for nothing.
    assert list(judging_notes(EXT, [tmp_path / "none.parquet"])) == []


@pytest.mark.parametrize(
    ("judge", "lines"),
    [
        (RULES, 1),
        (load_recipe("llama-3.1-8b", ["judge.regimen=GUARD", "judge.prompt=guard-v1"]).judge, 2),
        (load_recipe("llama-3.1-8b", ["judge.ensemble.also=[RULES]"]).judge, 2),
        (EXT, 1),
    ],
)
def test_rules_warn_where_most_answers_are_not_english(judge: JudgeConfig, lines: int, tmp_path: Path) -> None:
    found = list(judging_notes(judge, judged(tmp_path, [SPANISH, SPANISH, ENGLISH], [1.0] * 3)))
    assert len(found) == lines
    assert any("WARNING: 4 of 6 answers do not look English" in line for line in found) == (judge is not EXT)


def test_rules_do_not_warn_of_english(tmp_path: Path) -> None:
    assert list(judging_notes(RULES, judged(tmp_path, [ENGLISH, ENGLISH, SPANISH], [1.0] * 3))) == []
