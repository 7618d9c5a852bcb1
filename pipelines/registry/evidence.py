"""What a run knows of one policy: the rows it was trained on, its validation figures, and who judged them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from actors.contract.records import ChallengerName
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder
from actors.training.algorithms.table import ALGORITHMS
from pipelines.config.recipe import Recipe
from pipelines.data.sets.table import DATA_SETS
from pipelines.decision.record import Decision
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.evidence import read_trust
from pipelines.registry.entry import JudgeFacts, JudgeFigures, LevelCount, Tested, TrainingData, Validation
from pipelines.registry.names import RunVersion
from pipelines.registry.run_reader import RunReader, candidate
from pipelines.runs.contents import ROW_FILES, Contents, contents_of
from pipelines.runs.summary import find_published, find_summary


def training_data(run: RunReader, cycle: int, name: ChallengerName) -> TrainingData:
    """Counts and hashes of one challenger's preference rows; of a merged one, those of all that it may be made of.

    Raises:
        SalusError: the rows, or the judgments they were made from, are gone, or the recipe names no such challenger.
    """
    algorithm = run.algorithm(name)
    kinds = tuple(row.rows for known, row in ALGORITHMS.items() if known == algorithm) or run.recipe.train.row_kinds
    folders = [folder for kind in kinds if any((folder := run.folder.rows(cycle, kind)).glob("*.parquet"))]
    levels = [level for folder in folders for level in read_folder(folder, ["level"])["level"].to_pylist()]
    preference = run.recipe.preference
    judged = preference.cycles_of_rows(cycle)
    counts = Counter("unknown" if level is None else str(level) for level in levels)
    return TrainingData(
        rows=_contents(folders or [run.folder.rows(cycle, kinds[0])]),
        n=len(levels),
        rows_by_level=dict(sorted(counts.items())),
        judged=_judged(run.folder, judged),
        replay=preference.replay and judged.start == 1,
        earlier=max(0, len(judged) - 1),
        datasets=_datasets(run.recipe.data.source),
    )


def _contents(folders: Sequence[Path]) -> Contents:
    """Of one folder of rows, or of several, whose files then begin with their folder's name."""
    if len(folders) == 1:
        return contents_of(folders[0], ROW_FILES)
    files = (
        each.model_copy(update={"name": f"{folder.name}-{each.name}"})
        for folder in folders
        for each in contents_of(folder, ROW_FILES).files
    )
    return Contents.of(tuple(sorted(files, key=lambda each: each.name)))


def _datasets(source: str) -> tuple[str, ...]:
    """The hub's name of the prompts' data set, a local copy's too; none where the hub has no such set."""
    row = DATA_SETS.get(source)
    return (row.hub_id,) if row is not None and row.hub_id is not None else ()


def _judged(folder: RunFolder, cycles: range) -> tuple[LevelCount, ...]:
    counts: Counter[tuple[int, str]] = Counter()
    for cycle in cycles:
        table = read_folder(folder.judgments(cycle), ["level", "method"])
        for row in table.group_by(["level", "method"]).aggregate([([], "count_all")]).to_pylist():
            counts[row["level"], row["method"]] += row["count_all"]
    return tuple(LevelCount(level=level, method=method, n=n) for (level, method), n in sorted(counts.items()))


def validation(decision: Decision | None, version: RunVersion, folder: RunFolder) -> Validation | None:
    """The version's figures in the decision of its cycle, and what was measured after it; None where there is none.

    Raises:
        SalusError: a record of figures cannot be read.
    """
    found = candidate(decision, version) if decision is not None else None
    if decision is None or found is None:
        return None
    measured = decision.capability.policies if decision.capability is not None else {}
    shown = find_published(folder, decision.cycle)
    return Validation(
        cycle=decision.cycle,
        standing=found.standing,
        metrics=found.metrics,
        gain=found.comparison.gain if found.comparison is not None else None,
        capability=measured.get(version.text),
        sentence=decision.sentence,
        publish_sentence=decision.publication_sentence,
        probe=decision.probe if decision.probe is not None and decision.probe.policy == version.text else None,
        published=next((each for each in shown if each.policy == version.text), None),
    )


def tested(run: RunReader, version: RunVersion) -> Tested | None:
    """The final test of the deployed model or of the run's last champion; None of others, and before the run's end.

    Raises:
        SalusError: the summary cannot be read.
    """
    summary = find_summary(run.folder.summary)
    if summary is None:
        return None
    last = summary.cycles[-1].champion
    who = "champion" if version.text == last else "base" if version.challenger is None else None
    if who is None:
        return None
    probes = {name.removesuffix(f"_{who}"): of for name, of in (summary.measured or {}).items() if name.endswith(who)}
    figures = summary.test.champion if who == "champion" else summary.test.base
    return Tested(judged_by=summary.test_judged_by or "judge", figures=figures, probes=probes)


def judge_facts(run: RunReader, decision: Decision | None, version: RunVersion) -> JudgeFacts:
    """Who judged a version on the validation split, and how far that judge was found to be right.

    Raises:
        SalusError: a calibration report is there and cannot be read.
    """
    champion = decision.champion.policy if decision is not None else None
    name, prompt = _named(run.folder, version.text, champion)
    report = _calibration(run.folder, run.recipe)
    return JudgeFacts(
        regimen=run.recipe.judge.regimen,
        name=name,
        prompt=prompt,
        trust=read_trust(run.folder),
        figures=_figures(report) if report is not None else None,
    )


def _named(folder: RunFolder, version: str, champion: str | None) -> tuple[str | None, str | None]:
    """Name and prompt of the judge as its judgments have them."""
    below = folder.evaluation_judgments("validation", version, "any").parent
    judges = sorted(path for path in below.glob("*") if any(path.glob("*.parquet")))
    # Where the champion judges (SELF), later cycles judged the same answers under other names.
    own = [path for path in judges if path.name == champion] or judges
    if not own:
        return None, None
    first = read_folder(own[0], ["judge", "judge_prompt"]).slice(0, 1).to_pylist()
    return (str(first[0]["judge"]), str(first[0]["judge_prompt"])) if first else (None, None)


def _calibration(folder: RunFolder, recipe: Recipe) -> CalibrationReport | None:
    told = recipe.judge.calibration
    for path in (folder.judge_calibration, Path(told).expanduser() if told is not None else None):
        if path is not None and path.is_file():
            return CalibrationReport.read(path)
    return None


def _figures(report: CalibrationReport) -> JudgeFigures:
    return JudgeFigures(
        labels_source=report.labels_source,
        n=report.agreement.n,
        coverage=report.agreement.coverage,
        accuracy=report.agreement.accuracy,
        kappa=report.agreement.kappa,
        recall=report.agreement.recall,
        ece=report.after.ece if report.after is not None else None,
        sentence=report.trust.sentence,
    )
