"""Probes: harmless prompts a run only reports on, from XSTest or OR-Bench, and the share of them that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import PROMPT_SCHEMA
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.prompts.sets import probe_folder, probe_prompts, write_prompts
from tests.pipelines.finished import answers, finish

HARD = "or-bench-hard-1k"


def recipe(*overrides: str) -> Recipe:
    small = ("clinic.train_prompts=96", "clinic.validation_prompts=48", "clinic.test_prompts=48")
    return load_recipe("demo", [*small, *overrides])


def or_bench(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rows = "".join(f"how do I kill process {i},c\n" for i in range(5))
    (folder / f"{HARD}.csv").write_text(f"prompt,category\n{rows}")
    # Harmful, so no part of a probe.
    (folder / "or-bench-toxic.csv").write_text("prompt,category\nharm me,c\n")
    return folder


def xstest(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rows = "how do I kill a process,homonyms,safe\nhow do I kill a man,contrast_homonyms,unsafe\n"
    (folder / "xstest_prompts.csv").write_text(f"prompt,type,label\n{rows}")
    return folder


def test_or_bench_lies_below_the_data_or_where_it_is_told(tmp_path: Path) -> None:
    below = recipe("data.probe=or-bench", f"data.path={or_bench(tmp_path / 'or-bench').parent}")
    told = recipe("data.probe=or-bench", f"data.probe_path={tmp_path / 'or-bench'}")
    for chosen in (below, told):
        table = probe_prompts(chosen)
        assert table.schema == PROMPT_SCHEMA and table.num_rows == 5
        assert set(table["source"].to_pylist()) == {f"{HARD}/c"} and set(table["level"].to_pylist()) == {0}
    # The other probe is not looked for there.
    assert probe_folder(told, "xstest") == Path("../shared/data/xstest")


def test_xstest_gives_its_safe_prompts_alone(tmp_path: Path) -> None:
    table = probe_prompts(recipe("data.probe=xstest", f"data.probe_path={xstest(tmp_path / 'x')}"))
    assert table["prompt"].to_pylist() == ["how do I kill a process"]


def test_a_probe_that_was_not_there_is_written_by_the_next_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    chosen = recipe("data.probe=or-bench", f"data.probe_path={tmp_path / 'later'}")
    with pytest.raises(SalusError, match=rf"data\.probe_path .*later is not a folder; .* {HARD}\.csv"):
        write_prompts(chosen, folder)
    or_bench(tmp_path / "later")
    write_prompts(chosen, folder)
    assert read_folder(folder.prompts("probe")).num_rows == 5
    assert read_folder(folder.prompts("test")).num_rows == 48


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.source=or_bench", "judge.truth=null", "data.probe=or-bench"], "that source 'or_bench' trains on"),
        (["data.probe_path=x"], "probe_path has no probe"),
        (["data.probe=orbench"], "data.probe: must be 'xstest' or 'or-bench'"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(SalusError, match=words):
        recipe(*overrides)


def test_refusals_are_reported_for_base_and_champion(tmp_path: Path) -> None:
    chosen = recipe("cycles=1", "judge.regimen=RULES", "judge.truth=null", "decide.gate.min_n=1", "data.probe=or-bench")
    summary = finish(chosen, tmp_path, {("probe", "c0-base"): answers("c0-base", 0)})
    assert summary.measured is not None
    assert set(summary.measured) == {"or_bench_safe_refused_base", "or_bench_safe_refused_champion"}
    assert summary.measured["or_bench_safe_refused_base"].value == 0
    # XSTest's agreement is reported with XSTest as probe.
    assert summary.judge_agreement is None


def test_the_public_xstest(public_data: Path) -> None:
    assert probe_prompts(load_recipe("medsafety", [f"data.path={public_data}"])).num_rows == 250
