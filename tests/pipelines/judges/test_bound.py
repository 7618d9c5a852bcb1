"""A calibration holds of what was calibrated: other weights, templates, code, servers or labels are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.judges import bound
from pipelines.judges.bound import weights_before_run, weights_in_run, weights_sum
from pipelines.judges.calibration_report import CalibrationReport, JudgeIdentity
from pipelines.judges.evidence import judge_before_run, judge_in_run, read_trust
from pipelines.judges.gate import UnreliableJudge, check_judge_trusted
from pipelines.judges.human_labels import LabelsFile, labels_file
from pipelines.runs.open import RunRecord
from tests.pipelines.judges.calibrated import Sharpness, bound_to, drawn, report_of
from tests.quiet_reporter import QuietReporter
from tests.small_folder import small_folder

GOOD = drawn(3000, Sharpness(signal=8.0))
MODULE = "bound_ward_judge"
CODE = "def label(conversations):\n    return ['Accept' for _ in conversations]\n"


def recipe(*overrides: str) -> Recipe:
    return load_recipe("demo", ["judge.truth=null", *overrides])


def of_folder(folder: Path, *overrides: str) -> Recipe:
    judge = ["judge.regimen=EXT", "judge.source=folder", f"judge.path={folder}", "judge.prompt=cares-v2"]
    return recipe(*judge, *overrides)


def measured(of: Recipe, name: str, labels: LabelsFile | None = None, weights: str | None = None) -> CalibrationReport:
    judge = JudgeIdentity(name=name, regimen=of.judge.regimen, prompt=of.judge.prompt_version)
    return bound_to(of, report_of(GOOD, judge), weights, labels)


def named(of: Recipe, report: CalibrationReport, at: Path) -> Recipe:
    """The recipe that names the report."""
    report.write(at / "calibration.json")
    judge = of.judge.model_copy(update={"calibration": str(at / "calibration.json")})
    return of.model_copy(update={"judge": judge})


def refused(of: Recipe) -> str:
    with pytest.raises(UnreliableJudge) as caught:
        judge_before_run(of)
    sentence = caught.value.sentence
    # What, where, and the cure, in one sentence.
    assert "\n" not in sentence and sentence.endswith(".") and str(of.judge.calibration) in sentence
    assert "run `salus judge calibrate demo --labels FOLDER`" in sentence
    return sentence


def test_other_weights_under_the_same_folders_name_are_refused(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "judge")
    of = of_folder(folder)
    before = weights_before_run(of)
    assert before == weights_sum(folder)
    of = named(of, measured(of, "ext-judge", weights=before), tmp_path)
    trust = judge_before_run(of)
    assert trust is not None and trust.trusted
    small_folder(folder, weights="fine-tuned again")
    assert f"the judge's weights have SHA-256 {before[:12]} there, {weights_sum(folder)[:12]} here" in refused(of)
    # Accepted all the same, it is on record why, and nothing of the calibration is applied.
    accepting = of.model_copy(update={"judge": of.judge.model_copy(update={"accept_unreliable": True})})
    trust = judge_before_run(accepting)
    assert trust is not None and not trust.trusted and trust.temperature is None
    assert "does not hold of this judge: the judge's weights" in trust.note


def test_a_report_of_an_earlier_version_is_refused_and_says_why(tmp_path: Path) -> None:
    of = of_folder(small_folder(tmp_path / "judge"))
    old = measured(of, "ext-judge", weights="ab" * 32).model_copy(update={"bound": None})
    words = refused(named(of, old, tmp_path))
    assert "it is of an earlier version of Salus" in words and "by the name of a folder alone" in words


def test_a_report_without_a_hash_of_weights_is_refused(tmp_path: Path) -> None:
    of = of_folder(tmp_path / "gone")
    assert "holds no hash of the judge's weights" in refused(named(of, measured(of, "ext-gone"), tmp_path))


def test_weights_a_run_finds_later_are_checked_before_anything_is_learnt(tmp_path: Path) -> None:
    """Of a judge that is built, fetched, or kept in the run, nothing is on disk under a name of the recipe's."""
    of = of_folder(tmp_path / "elsewhere")
    of = named(of, measured(of, "ext-elsewhere", weights="ab" * 32), tmp_path)
    trust = judge_before_run(of)
    assert trust is not None and trust.trusted
    same, other = run_of(tmp_path / "same", "ab" * 32), run_of(tmp_path / "other", "cd" * 32)
    judge_in_run(of, same, QuietReporter())
    assert read_trust(same) == trust
    with pytest.raises(UnreliableJudge, match="weights have SHA-256 abababababab there, cdcdcdcdcdcd here"):
        judge_in_run(of, other, QuietReporter())


def test_a_policy_that_judges_itself_is_bound_to_the_policys_weights(tmp_path: Path) -> None:
    of = recipe("judge.regimen=SELF", "judge.prompt=cares-v2")
    folder = run_of(tmp_path, "ab" * 32)
    assert weights_in_run(of, folder) == "ef" * 32
    assert weights_in_run(recipe("judge.regimen=RULES"), folder) is None


def run_of(root: Path, judge: str) -> RunFolder:
    folder = RunFolder(root)
    record = RunRecord(
        packages={},
        python="3.11",
        machine="m",
        git_revision=None,
        policy_path="/p",
        policy_sha256="ef" * 32,
        judge_path="/j",
        judge_sha256=judge,
    )
    write_text(record.model_dump_json(), folder.run_record)
    return folder


def test_another_text_under_the_prompts_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_folder(tmp_path / "judge")
    of = of_folder(folder)
    of = named(of, measured(of, "ext-judge", weights=weights_sum(folder)), tmp_path)
    monkeypatch.setattr(bound, "load_template", lambda version: "Say Accept. {request} {answer}")
    assert "the text of prompt cares-v2 has SHA-256" in refused(of)


def test_changed_code_of_a_function_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{MODULE}.py").write_text(CODE, encoding="utf-8")
    of = recipe("judge.regimen=PYTHON", f"judge.function={MODULE}:label")
    try:
        of = named(of, measured(of, f"python-{MODULE}.label"), tmp_path)
        trust = judge_before_run(of)
        assert trust is not None and trust.trusted
        assert "A calibration does not see what the function's module imports or loads." in trust.note
        (tmp_path / f"{MODULE}.py").write_text(CODE.replace("Accept", "Refuse"), encoding="utf-8")
        assert "the code that judges has SHA-256" in refused(of)
    finally:
        sys.modules.pop(MODULE, None)


def test_a_server_is_bound_by_name_and_says_that_its_weights_are_not_seen(tmp_path: Path) -> None:
    def at(url: str) -> Recipe:
        remote = [f"judge.remote.base_url={url}", "judge.remote.model=m"]
        return recipe("judge.regimen=REMOTE", "judge.prompt=cares-v2", *remote)

    of = at("http://one/v1")
    report = measured(of, "remote-m")
    assert "A calibration does not see the weights behind the server." in check_judge_trusted(of, report)
    assert "m at http://one/v1 there, m at http://two/v1 here" in refused(named(at("http://two/v1"), report, tmp_path))


def test_rules_are_bound_to_their_code() -> None:
    rules = bound.bind(recipe("judge.regimen=RULES").judge, None, None)
    assert rules.code is not None and (rules.weights, rules.prompt, rules.server) == (None, None, None)


@pytest.mark.parametrize("several", [False, True])
def test_changed_labels_are_refused(tmp_path: Path, several: bool) -> None:
    folder = small_folder(tmp_path / "judge")
    labels = tmp_path / "labels"
    labels.mkdir()
    file = labels / "team.csv"
    file.write_text("prompt,answer,label\np,a,Accept\n", encoding="utf-8")
    place = labels if several else file
    of = of_folder(folder)
    of = named(of, measured(of, "ext-judge", labels_file(place), weights_sum(folder)), tmp_path)
    assert judge_before_run(of) is not None
    file.write_text("prompt,answer,label\np,a,Refuse\n", encoding="utf-8")
    assert f"the labels in {place} have SHA-256" in refused(of)
    # Labels that are gone, as on another machine, cannot have been looked at.
    file.unlink()
    trust = judge_before_run(of)
    assert trust is not None and f"Whether its labels changed was not checked, as {place} is not here." in trust.note


def test_code_that_cannot_be_imported_is_one_sentence(tmp_path: Path) -> None:
    of = recipe("judge.regimen=PYTHON", "judge.function=no_such_module_here:label")
    with pytest.raises(SalusError, match="cannot be imported"):
        bound.bind(of.judge, None, None)
