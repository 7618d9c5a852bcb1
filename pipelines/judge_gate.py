"""The gate before a run: no judge may select policies until it was held against human labels and did well."""

from __future__ import annotations

from pathlib import Path

from actors.errors import SalusError
from pipelines.config.recipe import Recipe
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.trust import decide_trust
from pipelines.materials import judge_name

ACCEPT = "--accept-unreliable-judge"


def read_calibration(recipe: Recipe) -> CalibrationReport | None:
    """The report `judge.calibration` names; None where the recipe names none.

    Raises:
        SalusError: it cannot be read.
    """
    path = recipe.judge.calibration
    return CalibrationReport.read(Path(path).expanduser()) if path is not None else None


def check_judge_trusted(recipe: Recipe, report: CalibrationReport | None) -> str:
    """A note to record when the recipe's judge may select policies, by the recipe's own thresholds.

    Raises:
        SalusError: there is no report, it is about another judge, or the judge falls short of a threshold.
    """
    if report is None:
        raise SalusError(
            f"The judge of recipe {recipe.name} ({recipe.judge.regimen}) was not held against human labels"
            f" (judge.calibration is not set); {_cure(recipe)}"
        )
    stranger = _difference(recipe, report)
    if stranger is not None:
        raise SalusError(f"judge.calibration is about another judge: {stranger}; {_cure(recipe)}")
    ece = report.after.ece if report.after is not None else None
    trust = decide_trust(report.judge.name, report.agreement, ece, recipe.judge.trust)
    if not trust.trusted:
        # The sentence ends with a full stop; what follows goes on in the same breath.
        raise SalusError(f"{trust.sentence.removesuffix('.')}; {_cure(recipe)}")
    later = " It was measured as the deployed model; later champions judge unmeasured."
    return f"{trust.sentence} Labels: {report.labels_source}.{later if recipe.judge.regimen == 'SELF' else ''}"


def _cure(recipe: Recipe) -> str:
    return (
        f"run `salus judge calibrate {recipe.name} --labels FOLDER` and --set judge.calibration=CALIBRATION.json,"
        f" take another judge, or add {ACCEPT} to go on all the same."
    )


def _difference(recipe: Recipe, report: CalibrationReport) -> str | None:
    """What in the report does not fit the recipe's judge; None where nothing is known to differ."""
    judge = recipe.judge
    if report.judge.regimen != judge.regimen:
        return f"regimen {report.judge.regimen} there, {judge.regimen} here"
    if judge.regimen == "RULES":
        return None
    if report.judge.prompt != judge.prompt:
        return f"prompt {report.judge.prompt} there, {judge.prompt} here"
    # Where the weights are built here or come from the hub, their folder's name is not known yet.
    if judge.regimen != "SELF" and judge.source == "folder" and judge.path is not None:
        name = judge_name(judge.regimen, Path(judge.path).expanduser().absolute())
        return f"{report.judge.name} there, {name} here" if report.judge.name != name else None
    return None
