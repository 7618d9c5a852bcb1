"""The gate before a run: no judge may select policies until it was held against trusted labels and did well."""

from __future__ import annotations

from pathlib import Path

from actors.contract.records import Record
from actors.errors import SalusError
from pipelines.config.judge import JudgeConfig
from pipelines.config.load import recipe_names
from pipelines.config.recipe import Recipe
from pipelines.judges.bound import difference, unseen
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.trust import decide_trust
from pipelines.runs.materials import judge_name

ACCEPT = "--accept-unreliable-judge"


class UnreliableJudge(SalusError):
    """The judge may not select policies; `reason` is why, without a full stop and the ways to mend it."""

    def __init__(self, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason


class JudgeTrust(Record):
    """Why a run's judge selects policies; `judge/trust.json` of the run folder."""

    # False: it was accepted all the same.
    trusted: bool
    note: str
    # The one of the calibration, whose calibration error was held against `max_ece`. The run applies it to the judge's
    # probabilities before `preference.min_confidence` looks at them. None: they are taken as they are.
    temperature: float | None = None


def hold_judge(recipe: Recipe, report: CalibrationReport | None, weights: str | None = None) -> JudgeTrust:
    """The rule: the judge is trusted, or accepted by `judge.accept_unreliable`, or the run is refused.

    Args:
        recipe: whose judge it is.
        report: its calibration, if there is one.
        weights: SHA-256 of the model that judges, as `weights_before_run` or `weights_in_run` finds it.

    Raises:
        UnreliableJudge: as `check_judge_trusted`, unless the recipe accepts such a judge.
    """
    try:
        note = check_judge_trusted(recipe, report, weights)
    except UnreliableJudge as refusal:
        if not recipe.judge.accept_unreliable:
            raise
        return JudgeTrust(trusted=False, note=f"Accepted all the same ({ACCEPT}): {refusal.reason}.")
    assert report is not None
    return JudgeTrust(trusted=True, note=note, temperature=report.temperature)


def read_calibration(recipe: Recipe) -> CalibrationReport | None:
    """The report `judge.calibration` names; None where the recipe names none.

    Raises:
        SalusError: it cannot be read.
    """
    path = recipe.judge.calibration
    return CalibrationReport.read(Path(path).expanduser()) if path is not None else None


def check_judge_trusted(recipe: Recipe, report: CalibrationReport | None, weights: str | None = None) -> str:
    """A note to record when the recipe's judge may select policies, by the recipe's own thresholds.

    Arguments as of `hold_judge`.

    Raises:
        UnreliableJudge: there is no report, it is about another judge, prompt or labels, or the judge falls short of a
            threshold.
    """
    if report is None:
        raise _refusal(
            recipe,
            f"The judge of recipe {recipe.name} ({'+'.join(recipe.judge.voices)}) was not held against human labels"
            " (judge.calibration is not set)",
        )
    stranger = _difference(recipe.judge, report)
    if stranger is not None:
        raise _refusal(recipe, f"judge.calibration is about another judge: {stranger}")
    changed = difference(recipe, report, weights)
    if changed is not None:
        where = f" ({recipe.judge.calibration})" if recipe.judge.calibration is not None else ""
        raise _refusal(recipe, f"judge.calibration{where} does not hold of this judge: {changed}")
    ece = report.after.ece if report.after is not None else None
    trust = decide_trust(report.judge.name, report.agreement, report.harmful, ece, recipe.judge.trust)
    if not trust.trusted:
        raise _refusal(recipe, f"{trust.sentence.removesuffix('.')} (labels: {report.labels_source})")
    later = " It was measured as the deployed model; later champions judge unmeasured."
    later = later if recipe.judge.row.champion_judges else ""
    remarks = report.model_copy(update={"thresholds": recipe.judge.trust}).remarks
    more = "".join(f" {sentence}" for sentence in (*remarks, *unseen(recipe.judge, report)))
    return f"{trust.sentence} Labels: {report.labels_source}.{later}{more}"


def _refusal(recipe: Recipe, reason: str) -> UnreliableJudge:
    # A recipe of one's own is a file, whose name the recipe does not know.
    named = recipe.name if recipe.name in recipe_names() else "RECIPE.yaml"
    cure = (
        f"run `salus judge calibrate {named} --labels FOLDER` and --set judge.calibration=CALIBRATION.json,"
        f" take another judge, or add {ACCEPT} to go on all the same."
    )
    return UnreliableJudge(f"{reason}; {cure}", reason)


def _difference(judge: JudgeConfig, report: CalibrationReport) -> str | None:
    """What in the report does not fit the recipe's judge; None where nothing is known to differ."""
    there = report.judge
    if there.regimen != judge.regimen:
        return f"regimen {there.regimen} there, {judge.regimen} here"
    prompt, name = judge.prompt_version, judge.name(_own_name(judge))
    if there.prompt != prompt:
        return f"prompt {there.prompt} there, {prompt} here"
    return f"{there.name} there, {name} here" if name not in (None, there.name) else None


def _own_name(judge: JudgeConfig) -> str | None:
    """The name of the judge's own weights; None while their folder is unknown (built here, SELF, the hub's)."""
    if judge.row.weights != "own" or judge.source != "folder" or judge.path is None:
        return None
    return judge_name(judge.regimen, Path(judge.path).expanduser().absolute())
