"""How far a run's judge can be believed, for the dashboard."""

from __future__ import annotations

from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.serve.pages.dashboard_data import Bin, JudgeCalibration, Reliability
from pipelines.config.recipe import Recipe
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.evidence import read_trust
from pipelines.judges.reliability import ProbabilityScore


def judge_calibration(folder: RunFolder, recipe: Recipe | None) -> JudgeCalibration | None:
    """The report in the run folder, or the one its recipe names; None where there is none yet.

    Raises:
        SalusError: a report cannot be read.
    """
    path = _report(folder, recipe)
    if path is None:
        return None
    report, trust = CalibrationReport.read(path), read_trust(folder)
    quality = report.agreement
    parts = (_reliability("as it is", report.before), _reliability("calibrated", report.after))
    return JudgeCalibration(
        judge=report.judge.name,
        labels_source=report.labels_source,
        n=quality.n,
        coverage=quality.coverage,
        accuracy=quality.accuracy,
        kappa=quality.kappa,
        recall=quality.recall,
        temperature=report.temperature,
        reliability=tuple(part for part in parts if part is not None),
        trusted=trust.trusted if trust is not None else report.trust.trusted,
        sentence=trust.note if trust is not None else report.trust.sentence,
    )


def _report(folder: RunFolder, recipe: Recipe | None) -> Path | None:
    if folder.judge_calibration.is_file():
        return folder.judge_calibration
    named = recipe.judge.calibration if recipe is not None else None
    return Path(named).expanduser() if named is not None else None


def _reliability(name: str, score: ProbabilityScore | None) -> Reliability | None:
    if score is None:
        return None
    bins = tuple(Bin.model_validate(each.model_dump()) for each in score.bins)
    return Reliability.model_validate({"name": name, "ece": score.ece, "bins": bins})
