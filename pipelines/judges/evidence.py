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
from pipelines.data.sets.xstest import COMPLETIONS_PREFIX
from pipelines.judges.bound import bind, weights_before_run, weights_in_run
from pipelines.judges.calibration import JudgedAnswers, calibrate
from pipelines.judges.calibration_report import CalibrationReport, JudgeIdentity
from pipelines.judges.gate import JudgeTrust, hold_judge, read_calibration
from pipelines.judges.human_labels import read_xstest_labels
from pipelines.judges.refusal_rules import is_tuning_prompt
from pipelines.judges.spliced import MOST, score_spliced, spliced_answers
from pipelines.runs.prompts.sets import probe_folder, truth_rule

GROUND_TRUTH = "ground truth of the deployed policy's answers in cycle 1"
_COLUMNS = ("prompt_id", "level", "answer", "label", "p_accept", "p_caution", "p_refuse", "judge", "judge_prompt")


def judge_before_run(recipe: Recipe) -> JudgeTrust | None:
    """Whether the recipe's judge may select policies; None where the run's first cycle will tell.

    Raises:
        SalusError: it may not, the labels it is to be held against cannot be read, or what it judges with is not here.
    """
    check_voices(recipe.judge)
    report = read_calibration(recipe)
    if report is None and has_ground_truth(recipe):
        return None
    if report is None:
        return hold_judge(recipe, rules_on_xstest(recipe))
    return hold_judge(recipe, report, weights_before_run(recipe))


def judge_in_run(recipe: Recipe, folder: RunFolder, reporter: Reporter) -> None:
    """Once the first cycle's answers are judged, and before anything is learnt or decided from them.

    A calibration is held against the weights that the run has by now, whether it built, fetched or kept them. Does
    nothing else where `judge_before_run` could tell.

    Raises:
        SalusError: the judge may not select policies.
    """
    weights = weights_in_run(recipe, folder)
    given = read_calibration(recipe)
    if given is not None:
        if weights is not None:
            record_trust(folder, hold_judge(recipe, given, weights), reporter)
        return
    if not has_ground_truth(recipe):
        return
    known = folder.judge_calibration
    report = CalibrationReport.read(known) if known.is_file() else None
    if report is None or report.bound is None:
        # There was none, or one of an earlier version, which the same judgments give anew.
        report = on_ground_truth(recipe, folder.judgments(1))
        report = report.model_copy(update={"bound": bind(recipe.judge, weights, None)})
    report.write(known)
    record_trust(folder, hold_judge(recipe, report, weights), reporter)


def applied_temperature(recipe: Recipe, folder: RunFolder, reporter: Reporter) -> float | None:
    """The temperature that a run applies to its judge's probabilities; None: they are taken as they are.

    It is that of the calibration by which the judge was let in, so that what was gated is what is applied.

    Raises:
        SalusError: nothing is recorded of the judge yet, and it may not select policies.
    """
    if read_trust(folder) is None:
        record_trust(folder, judge_before_run(recipe), reporter)
        judge_in_run(recipe, folder, reporter)
    trust = read_trust(folder)
    return trust.temperature if trust is not None else None


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
    return recipe.has_ground_truth


def has_control_labels(recipe: Recipe) -> bool:
    """Whether trusted labels of a sample of the contenders' answers are held against the judge's in each cycle."""
    return recipe.control_reference is not None


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
            levels=judged["level"].to_pylist(),
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
    labels = read_xstest_labels(folder)
    # The rules were tuned on the other half, which would flatter them.
    fair = tuple(answer for answer in labels.answers if not is_tuning_prompt(answer.prompt_id))
    predicted = [rule(answer.answer) for answer in fair]
    judge, seed = recipe.judge, derive_seed(recipe.seed, "calibrate")
    name = judge.name(None)
    # A rule has a name of its own.
    assert name is not None
    identity = JudgeIdentity(name=name, regimen=judge.regimen, prompt=judge.prompt_version)
    report = calibrate(
        JudgedAnswers(
            prompt_ids=[answer.prompt_id for answer in fair],
            human=[answer.label for answer in fair],
            predicted=predicted,
            probabilities=np.eye(len(LABELS))[[LABELS.index(label) for label in predicted]],
            levels=[answer.level for answer in fair],
        ),
        identity,
        labels.source,
        judge.trust,
        seed,
        left_out=len(labels.answers) - len(fair),
    )
    spliced = spliced_answers(fair, MOST, seed)
    said = [rule(answer.answer) for answers in spliced.values() for answer in answers]
    return report.model_copy(
        update={"bound": bind(judge, None, labels.file), "spliced": score_spliced(spliced, said, seed)}
    )


def _lies_with_the_data(recipe: Recipe, xstest: Path) -> bool:
    return recipe.data.source == "medsafety" and any(xstest.glob(f"{COMPLETIONS_PREFIX}*.csv"))
