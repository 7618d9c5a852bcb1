"""What a run knows of its judge: a calibration, XSTest's labels (rules), or ground truth of its own answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from actors.contract.records import LABELS
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.files.records import find_record
from actors.files.shards import read_folder, strings, write_text
from actors.judges.regimens import check_voices
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.data.sets.xstest import COMPLETIONS_PREFIX, read_xstest_answers
from pipelines.judges.calibration import JudgedAnswers, calibrate
from pipelines.judges.calibration_report import CalibrationReport, JudgeIdentity
from pipelines.judges.gate import JudgeTrust, hold_judge, read_calibration
from pipelines.judges.human_labels import XSTEST
from pipelines.judges.refusal_rules import is_tuning_prompt
from pipelines.runs.materials import probe_folder, truth_rule

GROUND_TRUTH = "ground truth of the deployed policy's answers in cycle 1"
_COLUMNS = ("prompt_id", "answer", "label", "p_accept", "p_caution", "p_refuse", "judge", "judge_prompt")


def judge_before_run(recipe: Recipe) -> JudgeTrust | None:
    """Whether the recipe's judge may select policies; None where the run's first cycle will tell.

    Raises:
        SalusError: it may not, the labels it is to be held against cannot be read, or what it judges with is not here.
    """
    check_voices(recipe.judge)
    report = read_calibration(recipe)
    if report is None and has_ground_truth(recipe):
        return None
    return hold_judge(recipe, report or rules_on_xstest(recipe))


def judge_in_run(recipe: Recipe, folder: RunFolder, reporter: Reporter) -> None:
    """Once the first cycle's answers are judged, and before anything is learnt or decided from them.

    Does nothing where `judge_before_run` could tell.

    Raises:
        SalusError: the judge may not select policies.
    """
    if recipe.judge.calibration is not None or not has_ground_truth(recipe):
        return
    known = folder.judge_calibration
    report = CalibrationReport.read(known) if known.is_file() else on_ground_truth(recipe, folder.judgments(1))
    report.write(known)
    record_trust(folder, hold_judge(recipe, report), reporter)


def record_trust(folder: RunFolder, trust: JudgeTrust | None, reporter: Reporter) -> None:
    """Write down why the judge selects policies, and say so where that is news to the run."""
    if trust is None or trust == read_trust(folder):
        return
    write_text(trust.model_dump_json(indent=2) + "\n", folder.judge_trust)
    reporter.say(trust.note)


def read_trust(folder: RunFolder) -> JudgeTrust | None:
    """What `record_trust` wrote; None where nothing is known yet, or an earlier version made the run."""
    return find_record(JudgeTrust, folder.judge_trust, "the evidence for a judge", "delete it to gather it anew")


def has_ground_truth(recipe: Recipe) -> bool:
    """Whether the true label of the deployed policy's answers is known by construction: who judges plays no part."""
    return recipe.judge.truth == "clinic" and recipe.model.source == "clinic"


def on_ground_truth(recipe: Recipe, judgments: Path) -> CalibrationReport:
    """Judged answers with a known truth, as one calibration; only a run that is small has such a truth.

    Raises:
        SalusError: there are no judgments.
    """
    rule = truth_rule(recipe)
    assert rule is not None
    judged = read_folder(judgments, _COLUMNS)
    return calibrate(
        JudgedAnswers(
            prompt_ids=strings(judged, "prompt_id"),
            human=[rule(answer) for answer in strings(judged, "answer")],
            predicted=judged["label"].to_pylist(),
            probabilities=np.column_stack([judged[f"p_{label.lower()}"].to_numpy() for label in LABELS]).astype(float),
        ),
        JudgeIdentity(
            name=judged["judge"][0].as_py(), regimen=recipe.judge.regimen, prompt=judged["judge_prompt"][0].as_py()
        ),
        GROUND_TRUTH,
        recipe.judge.trust,
        derive_seed(recipe.seed, "calibrate"),
    )


def rules_on_xstest(recipe: Recipe) -> CalibrationReport | None:
    """Refusal rules held against the human labels of XSTest that is with the run's data; None for other judges.

    Raises:
        SalusError: XSTest's completions are not there, or have a bad row.
    """
    folder, rule = probe_folder(recipe, "xstest"), recipe.judge.row.rule
    if rule is None or len(recipe.judge.voices) > 1:
        return None
    if not (recipe.data.probe == "xstest" or _lies_with_the_data(recipe, folder)):
        return None
    answers = list(read_xstest_answers(folder))
    # The rules were tuned on the other half, which would flatter them.
    fair = [answer for answer in answers if not is_tuning_prompt(answer.id)]
    predicted = [rule(answer.answer) for answer in fair]
    judge = recipe.judge
    name = judge.name(None)
    # A rule has a name of its own.
    assert name is not None
    identity = JudgeIdentity(name=name, regimen=judge.regimen, prompt=judge.prompt_version)
    return calibrate(
        JudgedAnswers(
            prompt_ids=[answer.id for answer in fair],
            human=[answer.label for answer in fair],
            predicted=predicted,
            probabilities=np.eye(len(LABELS))[[LABELS.index(label) for label in predicted]],
        ),
        identity,
        XSTEST,
        recipe.judge.trust,
        derive_seed(recipe.seed, "calibrate"),
        left_out=len(answers) - len(fair),
    )


def _lies_with_the_data(recipe: Recipe, xstest: Path) -> bool:
    return recipe.data.source == "medsafety" and any(xstest.glob(f"{COMPLETIONS_PREFIX}*.csv"))
