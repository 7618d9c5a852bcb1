"""The end of a run, from files alone: what is in `metrics.parquet` and `summary.json`, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.run_folder import RunFolder
from actors.tables import write_text
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.finish import styles_of
from pipelines.judge_gate import JudgeTrust
from tests.pipelines.finished import PROMPTS, answers, finish

SETTINGS = ("cycles=1", "judge.regimen=RULES", "judge.truth=null", "decide.gate.min_n=1")
HALF = PROMPTS // 2


def recipe(*overrides: str) -> Recipe:
    return load_recipe("demo", [*SETTINGS, *overrides])


def groups(folder: Path, split: str) -> set[str]:
    rows = pq.read_table(RunFolder(folder).metrics).to_pylist()
    return {row["group"] for row in rows if row["split"] == split and row["group"].startswith("style")}


def test_a_judge_that_was_accepted_all_the_same_is_named(tmp_path: Path) -> None:
    trust = JudgeTrust(trusted=False, note="Accepted all the same (--accept-unreliable-judge): unknown.")
    write_text(trust.model_dump_json(), RunFolder(tmp_path).judge_trust)
    assert finish(recipe(), tmp_path, {}).notes == (trust.note,)


def test_an_earlier_run_has_no_note(tmp_path: Path) -> None:
    assert finish(recipe(), tmp_path, {}).notes == ()


def test_prompts_without_styles_have_no_rows_by_style(tmp_path: Path) -> None:
    finish(recipe(), tmp_path, {})
    assert groups(tmp_path, "test") == groups(tmp_path, "validation") == set()


def test_styles_have_rows_and_held_out_ones_are_apart(tmp_path: Path) -> None:
    styles = ["base64"] * HALF + ["table"] * HALF
    tables = {("test", name): answers(name, right, styles) for name, right in (("c0-base", 0), ("c1-kto", HALF))}
    tables |= {("validation", "c0-base"): answers("c0-base", 0, ["base64"] * PROMPTS)}  # type: ignore[dict-item]
    finish(recipe("data.styles={train: [base64], held_out: [table]}"), tmp_path, tables)  # type: ignore[arg-type]
    assert groups(tmp_path, "test") == {"style:base64", "style:table", "styles:seen", "styles:held_out"}
    # No validation prompt has a held-out style.
    assert groups(tmp_path, "validation") == {"style:base64", "styles:seen"}
    rows = pq.read_table(RunFolder(tmp_path).metrics).to_pylist()
    asr = {
        (row["algorithm"], row["group"]): row["value"]
        for row in rows
        if row["split"] == "test" and row["metric"] == "asr"
    }
    assert asr["champion", "styles:seen"] == 0 and asr["champion", "styles:held_out"] == 1
    assert asr["base", "styles:seen"] == 1


@pytest.mark.parametrize("present", [["base64"] * PROMPTS, [None] * PROMPTS])
def test_a_limit_on_test_prompts_may_leave_a_held_out_style_out(present: list[str | None]) -> None:
    styled = recipe("data.styles={train: [base64], held_out: [table]}")
    found = styles_of(answers("c0-base", 0, present), styled, seed=0)
    assert found is None or (found.held_out is None and found.held_out_styles == ())
