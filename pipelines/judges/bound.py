"""What a calibration is of, by content, so that no other judge, prompt or labels pass under its name.

| judged by | bound to |
| --- | --- |
| a model | the SHA-256 of its files, its template's text |
| code (rules, a Python function) | the SHA-256 of its file |
| a server | the server and the model's name, as no more can be seen; its template's text |

The labels are bound by the SHA-256 of their file, for as long as it can be read where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from actors.contract.run_folder import ModelRole, RunFolder
from actors.engine.chat_format import own_template
from actors.errors import SalusError
from actors.files.sums import file_sum
from actors.judges.regimens import REGIMENS, RegimenRow
from actors.judges.template import is_own, load_template, template_versions
from pipelines.config.judge import JudgeConfig
from pipelines.config.recipe import Recipe
from pipelines.judges.calibration_report import Bound, CalibrationReport
from pipelines.judges.human_labels import LabelsFile, labels_file
from pipelines.runs.contents import MODEL_FILES, contents_of
from pipelines.runs.materials import deployed_model, judge_chat
from pipelines.runs.open import noted_model

_DIGITS = 12


def bind(judge: JudgeConfig, weights: str | None, labels: LabelsFile | None) -> Bound:
    """What a calibration of this judge is bound to now.

    Args:
        judge: the recipe's.
        weights: SHA-256 of its model's files; None where it has no model.
        labels: what it is held against; None where they are in no file.

    Raises:
        SalusError: its code cannot be imported.
    """
    rows = _rows(judge)
    files = [file for row in rows if (file := row.code(judge)) is not None]
    servers = [row.server(judge) for row in rows if row.server is not None]
    return Bound(
        weights=weights,
        code=_joint([file_sum(file) for file in files]),
        prompt=_joint(_templates(judge)),
        server="; ".join(servers) or None,
        pooled=judge.how if len(rows) > 1 else None,
        labels=labels,
    )


def weights_sum(folder: Path) -> str:
    """SHA-256 of a model's files, as a run notes it.

    Raises:
        SalusError: there are none.
    """
    return contents_of(folder, MODEL_FILES).sha256


def weights_as_found(recipe: Recipe, folder: Path) -> str:
    """The same of the judge in a folder that a recipe names: with the chat template the recipe would give it.

    Raises:
        SalusError: there is no model.
    """
    return weights_sum(deployed_model(folder, judge_chat(recipe, own_template(folder) or "")))


def weights_before_run(recipe: Recipe) -> str | None:
    """The same before a run; None where the judge has none, or they are not on disk under a name of the recipe's.

    What is built, fetched or kept by the run is held against the calibration once the run has it.
    """
    judge = recipe.judge
    if judge.row.weights != "own" or judge.source != "folder" or judge.path is None:
        return None
    try:
        return weights_as_found(recipe, Path(judge.path).expanduser().absolute())
    except SalusError:
        # What is wrong there is said where models are looked for.
        return None


def weights_in_run(recipe: Recipe, folder: RunFolder) -> str | None:
    """The same of the model that judges the first cycle of a run; None where none is written down."""
    weights = recipe.judge.row.weights
    if weights is None or not folder.run_record.is_file():
        return None
    role: ModelRole = "policy" if recipe.judge.row.champion_judges else "judge"
    known = noted_model(folder, role)
    return known.sha256 if known is not None else None


def difference(recipe: Recipe, report: CalibrationReport, weights: str | None) -> str | None:
    """What is another thing now than when the report was made; None where nothing is known to be.

    Args:
        recipe: the one that names the report, or whose run made it.
        report: its judge has the recipe's regimen, prompt version and name.
        weights: SHA-256 of the model that judges; None where it is not known yet, or there is none.

    Raises:
        SalusError: the judge's code cannot be imported.
    """
    then, judge = report.bound, recipe.judge
    if then is None:
        return (
            "it is of an earlier version of Salus, which bound it to its judge by the name of a folder alone, and a"
            " judge of that name may be another one"
        )
    now = bind(judge, weights, None)
    if judge.row.weights is not None and then.weights is None:
        return "it holds no hash of the judge's weights, which may be others"
    if weights is not None and weights != then.weights:
        return f"the judge's weights have SHA-256 {_short(then.weights)} there, {_short(weights)} here"
    if now.prompt != then.prompt:
        return (
            f"the text of prompt {judge.prompt_version} has SHA-256 {_short(then.prompt)} there,"
            f" {_short(now.prompt)} here"
        )
    if now.code != then.code:
        return f"the code that judges has SHA-256 {_short(then.code)} there, {_short(now.code)} here"
    if now.server != then.server:
        return f"{then.server or 'no server'} there, {now.server or 'no server'} here"
    if now.pooled != then.pooled:
        return f"its judges are pooled by {then.pooled or 'nothing'} there, by {now.pooled or 'nothing'} here"
    return _changed(then.labels) if then.labels is not None else None


def unseen(judge: JudgeConfig, report: CalibrationReport) -> tuple[str, ...]:
    """What a calibration that fits the judge does not vouch for, a sentence each."""
    hidden = (f"A calibration does not see {row.unseen}." for row in _rows(judge) if row.unseen is not None)
    labels = report.bound.labels if report.bound is not None else None
    if labels is None or _sum_now(labels) is not None:
        return tuple(dict.fromkeys(hidden))
    return (*dict.fromkeys(hidden), f"Whether its labels changed was not checked, as {labels.path} is not here.")


def _changed(labels: LabelsFile) -> str | None:
    now = _sum_now(labels)
    if now in (None, labels.sha256):
        return None
    return f"the labels in {labels.path} have SHA-256 {_short(labels.sha256)} there, {_short(now)} now"


def _sum_now(labels: LabelsFile) -> str | None:
    try:
        return labels_file(Path(labels.path)).sha256
    except (SalusError, OSError):
        return None


def _rows(judge: JudgeConfig) -> Sequence[RegimenRow]:
    return [REGIMENS[voice] for voice in judge.voices]


def _templates(judge: JudgeConfig) -> list[str]:
    """The texts that the voices fill; a guard's own is in its model's folder, and so among its weights."""
    filled = (judge.prompt_of(voice) for voice in judge.voices if REGIMENS[voice].prompts is not None)
    known = template_versions()
    return [load_template(template) for template in filled if is_own(template) or template in known]


def _joint(parts: Sequence[str]) -> str | None:
    """SHA-256 of several texts in their order; None of none."""
    return hashlib.sha256("\n\x1f\n".join(parts).encode()).hexdigest() if parts else None


def _short(sha256: str | None) -> str:
    return sha256[:_DIGITS] if sha256 is not None else "none"
