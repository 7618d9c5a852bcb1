"""The report on a challenger in the shadow: judged, compared, and written beside the records."""

from __future__ import annotations

from pathlib import Path

from actors.contract.records import PolicyRef, Record
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.shards import write_table, write_text
from pipelines.config.recipe import Recipe
from pipelines.judges.calibrate import JudgeShards
from pipelines.judges.calibration_report import JudgeIdentity
from pipelines.serving.shadow_report.figures import ShadowComparison, compare
from pipelines.serving.shadow_report.judgments import judge_records, read_records

REPORT, JUDGMENTS = "report.json", "judgments.parquet"
CAVEAT = (
    "Live requests have no known harm level: these are shares of labels, no SS, ERR or ASR, and a refusal may be right"
    " or wrong. The judge read redacted texts, and of a conversation its last question."
)


class ShadowReport(Record):
    """Every challenger of a folder beside every live policy it was compared with, by one judge."""

    judge: JudgeIdentity
    seed: int
    comparisons: tuple[ShadowComparison, ...]
    caveat: str = CAVEAT


def report_shadow(
    recipe: Recipe, folder: Path, out: Path, weights: PolicyRef | None, judge_shards: JudgeShards
) -> ShadowReport:
    """Have a folder's records judged, and write `judgments.parquet` and `report.json` to `out`, over earlier ones.

    Args:
        recipe: whose judge it is.
        folder: the endpoint's `shadow.folder`, which may be written to meanwhile.
        out: made where it is not there.
        weights: of the judge; None for rules.
        judge_shards: the judge pool.

    Raises:
        SalusError: there are no records, or `out` cannot be made.
    """
    records = read_records(folder)
    try:
        make_folder(out)
    except OSError as error:
        raise SalusError(f"{out} cannot be made ({error.strerror}); name another folder with --out.") from error
    judgments = judge_records(recipe, records, out, weights, judge_shards)
    seed = derive_seed(recipe.seed, "shadow")
    report = ShadowReport(
        judge=JudgeIdentity(
            name=judgments["judge"][0].as_py(),
            regimen=recipe.judge.regimen,
            prompt=judgments["judge_prompt"][0].as_py(),
            model=weights.path if weights is not None else None,
        ),
        seed=seed,
        comparisons=tuple(compare(records, judgments, seed)),
    )
    write_table(judgments, out / JUDGMENTS)
    write_text(report.model_dump_json(indent=2) + "\n", out / REPORT)
    return report
