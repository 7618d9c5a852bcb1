"""The report on a challenger in the shadow: judged, compared, written beside the records, and shown as tables."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.contract.records import LABELS, Interval, PolicyRef, Record
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.shards import write_table, write_text
from pipelines.config.recipe import Recipe
from pipelines.judges.calibration_report import JudgeIdentity
from pipelines.judges.pool import JudgeShards
from pipelines.report.cells import NOTHING, interval_text, narrow_table
from pipelines.serving.shadow.figures import ShadowComparison, compare
from pipelines.serving.shadow.judgments import judge_records, read_records

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


def shadow_tables(report: ShadowReport) -> Group:
    """Two tables a comparison, and what their figures do not say; 95 % intervals over conversations."""
    parts: list[RenderableType] = []
    for found in report.comparisons:
        parts += [Text(_head(found, report.judge.name)), _figures(found), _labels(found)]
    return Group(*parts, Text(report.caveat))


def _head(found: ShadowComparison, judge: str) -> str:
    return (
        f"{found.challenger} in the shadow of {found.policy}, by {judge}: {found.requests} requests in"
        f" {found.conversations} conversations, {found.since} to {found.until}; {found.several_turns} of several turns,"
        f" {found.same_answers} answered alike word for word"
    )


def _figures(found: ShadowComparison) -> Table:
    live, challenger = found.sides["live"], found.sides["challenger"]
    table = _table("figure", "live", "challenger", f"difference (n {found.paired})")
    for label in LABELS:
        shares = (interval_text(side.shares[label]) for side in (live, challenger))
        table.add_row(f"share {label}", *shares, _signed(found.differences[label]))
    for name, title in (
        ("coverage", "labelled"),
        ("repeating", "repeating"),
        ("empty", "empty"),
        ("cut_off", "cut off"),
        ("words_mean", "words, mean"),
    ):
        old, new = getattr(live, name), getattr(challenger, name)
        table.add_row(title, f"{old:.3f}", f"{new:.3f}", f"{new - old:+.3f}")
    return table


def _labels(found: ShadowComparison) -> Table:
    table = _table(f"live, of {found.disagreements} disagreements", *(f"challenger {label}" for label in LABELS))
    for label in LABELS:
        table.add_row(label, *(str(found.labels[label][other]) for other in LABELS))
    return table


def _signed(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return f"{interval.value:+.3f} ({interval.low:+.2f} to {interval.high:+.2f})"


def _table(first: str, *others: str) -> Table:
    table = narrow_table()
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table
