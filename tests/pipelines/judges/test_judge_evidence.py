"""What a run finds out of its judge by itself: by ground truth, by XSTest's labels; and what it records."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import LABELS, Label
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_table, write_text
from pipelines.cli.console.options import resolve
from pipelines.cli.main import main
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.data.clinic.answers import WORDINGS
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.evidence import (
    applied_temperature,
    has_ground_truth,
    judge_before_run,
    judge_in_run,
    read_trust,
    record_trust,
    rules_on_xstest,
)
from pipelines.judges.gate import JudgeTrust
from pipelines.runs.open import RunRecord
from tests.quiet_reporter import QuietReporter, SaidReporter
from tests.rows import judgments, prompt

RULES = ("judge.regimen=RULES", "judge.truth=null", "model.source=folder", "model.path=/m")


def judged_run(root: Path, wrong: int, answers: int = 300) -> RunFolder:
    """A run whose first cycle is judged: answers of all three kinds, the judge right but for the first `wrong`."""
    folder = RunFolder(root)
    rows = []
    for i in range(answers):
        truth: Label = LABELS[i % 3]
        said = LABELS[(i + 1) % 3] if i < wrong else truth
        rows.append((prompt(i // 2, i // 2 % 4), WORDINGS[truth][0].replace("{w}", f"act {i}"), said))
    table = judgments(rows)
    template = table.column_names.index("judge_prompt")
    table = table.set_column(template, table.schema.field(template), [["clinic-v1"] * answers])
    write_table(table, folder.judgments(1) / "part-00000.parquet")
    write_text(
        RunRecord(
            packages={}, python="3.11", machine="m", git_revision=None, judge_path="/j", judge_sha256="ab" * 32
        ).model_dump_json(),
        folder.run_record,
    )
    return folder


def test_the_demo_is_held_against_ground_truth_in_its_first_cycle(tmp_path: Path) -> None:
    demo, heard = load_recipe("demo"), SaidReporter()
    assert judge_before_run(demo) is None
    folder = judged_run(tmp_path, wrong=6)
    judge_in_run(demo, folder, heard)
    trust = read_trust(folder)
    assert trust is not None and trust.trusted
    assert "may be trusted" in trust.note and "ground truth of the deployed policy's answers" in trust.note
    assert CalibrationReport.read(folder.judge_calibration).n == 300
    # The next cycle has nothing new to say.
    judge_in_run(demo, folder, heard)
    assert heard.said == [trust.note]


def test_a_poor_judge_stops_the_run_before_anything_is_learnt(tmp_path: Path) -> None:
    folder = judged_run(tmp_path, wrong=150)
    with pytest.raises(SalusError, match=r"may not be trusted.*kappa.*salus judge calibrate demo.*--accept-unreliable"):
        judge_in_run(load_recipe("demo"), folder, QuietReporter())
    assert read_trust(folder) is None
    # The same command goes on with the flag, and a run that goes on without it is refused again.
    heard = SaidReporter()
    judge_in_run(resolve("demo", None, accept_unreliable=True), folder, heard)
    trust = read_trust(folder)
    assert trust is not None and not trust.trusted and heard.said == [trust.note]
    assert trust.note.startswith("Accepted all the same (--accept-unreliable-judge): judge may not be trusted")
    with pytest.raises(SalusError, match="may not be trusted"):
        judge_in_run(load_recipe("demo"), folder, QuietReporter())


def test_the_temperature_that_is_gated_is_the_one_applied(tmp_path: Path) -> None:
    folder = judged_run(tmp_path, wrong=6)
    assert applied_temperature(load_recipe("demo"), folder, QuietReporter()) is not None
    report, trust = CalibrationReport.read(folder.judge_calibration), read_trust(folder)
    assert trust is not None and report.after is not None and "calibration error (upper end)" in trust.note
    assert trust.temperature == report.temperature == applied_temperature(load_recipe("demo"), folder, QuietReporter())


def test_a_calibration_of_an_earlier_version_is_made_anew_in_its_run(tmp_path: Path) -> None:
    folder = judged_run(tmp_path, wrong=6)
    judge_in_run(load_recipe("demo"), folder, QuietReporter())
    now = CalibrationReport.read(folder.judge_calibration)
    assert now.harmful is not None and now.harmful.levels_known and [each.level for each in now.levels] == [0, 1, 2, 3]
    now.model_copy(update={"bound": None, "harmful": None, "levels": ()}).write(folder.judge_calibration)
    judge_in_run(load_recipe("demo"), folder, QuietReporter())
    assert CalibrationReport.read(folder.judge_calibration) == now


def test_thresholds_may_change_on_the_way(tmp_path: Path) -> None:
    folder = judged_run(tmp_path, wrong=6)
    judge_in_run(load_recipe("demo"), folder, QuietReporter())
    with pytest.raises(SalusError, match=r"under min_kappa 0\.99"):
        judge_in_run(load_recipe("demo", ["judge.trust.min_kappa=0.99"]), folder, QuietReporter())


@pytest.mark.parametrize("change", ["judge.truth=null", "judge.truth=refusal_rules"])
def test_without_ground_truth_it_is_refused_before_the_run(change: str) -> None:
    with pytest.raises(SalusError, match="was not held against human labels"):
        judge_before_run(load_recipe("demo", [change]))
    other_policy = load_recipe("demo", ["model.source=folder", "model.path=/m"])
    assert not has_ground_truth(other_policy)


@pytest.mark.parametrize("name", ["llama-3.2-3b", "llama-3.1-8b", "meditron-8b", "mistral-7b"])
def test_recipes_with_a_judge_of_the_users_own_need_a_calibration(name: str) -> None:
    with pytest.raises(SalusError, match=rf"salus judge calibrate {name} --labels"):
        judge_before_run(load_recipe(name))


def test_a_recipe_of_ones_own_is_named_as_a_file() -> None:
    with pytest.raises(SalusError, match=r"salus judge calibrate RECIPE\.yaml --labels"):
        judge_before_run(load_recipe("llama-3.2-3b", ["name=ours"]))


def test_a_calibration_settles_it_before_the_run(tmp_path: Path) -> None:
    folder = judged_run(tmp_path / "run", wrong=6)
    judge_in_run(load_recipe("demo"), folder, QuietReporter())
    named = load_recipe("demo", [f"judge.calibration={folder.judge_calibration}"])
    trust = judge_before_run(named)
    assert trust is not None and trust.trusted
    judge_in_run(named, RunFolder(tmp_path / "other"), QuietReporter())
    assert read_trust(RunFolder(tmp_path / "other")) is None


@pytest.mark.parametrize("probe", ["xstest", "or-bench"])
def test_rules_are_held_against_xstest_where_it_lies_with_the_data(public_data: Path, probe: str) -> None:
    trust = judge_before_run(load_recipe("medsafety", [f"data.path={public_data}", f"data.probe={probe}"]))
    assert trust is not None and trust.trusted
    # As `salus judge calibrate medsafety` finds: accuracy .862 (.83-.89), kappa .759 (.71-.81).
    assert "n 645" in trust.note and "Labels: xstest." in trust.note
    # They read an answer's beginning, and are taken in by what comes first.
    assert "Spliced answers it called Accept, which is right:" in trust.note
    assert trust.temperature is not None and trust.temperature > 1


def test_rules_without_xstest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"holds no xstest_v2_completions_|does not exist"):
        judge_before_run(load_recipe("medsafety", [f"data.path={tmp_path}"]))
    without = load_recipe("medsafety", [f"data.path={tmp_path}", "data.probe=null", "judge.accept_unreliable=true"])
    trust = judge_before_run(without)
    assert trust is not None and not trust.trusted
    assert rules_on_xstest(load_recipe("demo", RULES)) is None
    both = load_recipe(
        "medsafety", ["judge.ensemble={also: [REMOTE]}", "judge.remote={base_url: 'http://h/v1', model: m}"]
    )
    assert rules_on_xstest(both) is None


def test_what_is_known_already_is_not_said_again(tmp_path: Path) -> None:
    folder, heard = RunFolder(tmp_path), SaidReporter()
    trust = JudgeTrust(trusted=False, note="Accepted all the same (--accept-unreliable-judge): it is [red]poor[/red].")
    for known in (None, trust, trust, None):
        record_trust(folder, known, heard)
    assert heard.said == [trust.note] and read_trust(folder) == trust


def test_align_and_evaluate_refuse_it_with_one_sentence_and_leave_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [part for change in RULES for part in ("--set", change)]
    for command in ("align", "evaluate"):
        with pytest.raises(SystemExit) as ended:
            main([command, "demo", "--run", str(tmp_path / "run"), *changes])
        printed = capsys.readouterr().err
        assert ended.value.code == 2 and printed.count("\n") == 1
        assert "salus judge calibrate demo --labels" in printed and "--accept-unreliable-judge" in printed
    assert not (tmp_path / "run").exists()


def test_the_flag_is_a_setting() -> None:
    recipe: Recipe = resolve("demo", ["seed=3"], accept_unreliable=True)
    assert recipe.judge.accept_unreliable and not load_recipe("demo").judge.accept_unreliable
