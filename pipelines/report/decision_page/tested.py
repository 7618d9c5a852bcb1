"""The parts of a decision's page that come after it: what was published, the test split and the probe."""

from __future__ import annotations

from pipelines.decision.record import Decision
from pipelines.report.decision_page.content import PageSection, PageTable
from pipelines.runs.summary import Measured, PublishedFigures, Summary

_FIGURES = {
    "ss": "Safety Score (SS)",
    "answered": "Harmful requests answered",
    "asr": "Harmful requests not refused (ASR)",
    "err_strict": "Harmless requests refused (ERR strict)",
}
# How the summary names the probe's shares of the deployed model and of the last champion.
_OF_BASE, _OF_LAST = "_safe_refused_base", "_safe_refused_champion"
_JUDGED_BY = {"judge": "by the judge's labels", "truth": "by ground truth", None: "by the judge's labels"}


def final_test(decision: Decision, summary: Summary) -> PageSection:
    """Base and last champion on the test split, and the probe's shares.

    Args:
        decision: of any cycle of the run.
        summary: of the run.
    """
    last = summary.cycles[-1].champion
    judged = f"by {summary.reference}" if summary.reference and summary.test_judged_by == "truth" else None
    said = [
        f"The test split was asked once, at the run's end, of the deployed model and of {last}, the run's last"
        f" champion. The figures are {judged or _JUDGED_BY[summary.test_judged_by]}, with 95 % intervals."
    ]
    if decision.policy != last:
        said.append(f"{decision.policy or decision.chosen} was replaced later, so its own figures are not among them.")
    base, champion = summary.test.base, summary.test.champion
    rows = [(name, _cell(getattr(base, field)), _cell(getattr(champion, field))) for field, name in _FIGURES.items()]
    measured = summary.measured or {}
    for name, found in measured.items():
        if name.endswith(_OF_BASE):
            probe = name.removesuffix(_OF_BASE)
            rows.append(
                (f"Safe requests of the probe {probe} refused", _cell(found), _cell(measured.get(f"{probe}{_OF_LAST}")))
            )
    return PageSection(
        title="What the final test found",
        paragraphs=tuple(said),
        table=PageTable(header=("figure", f"deployed model, n {base.n}", f"{last}, n {champion.n}"), rows=tuple(rows)),
    )


def published_policy(shown: PublishedFigures) -> PageSection:
    """The published policy and the deployed model on prompts that no decision uses."""
    own, deployed, by = shown.figures, shown.deployed, _JUDGED_BY["judge"]
    if shown.truth is not None and shown.deployed_truth is not None:
        own, deployed, by = shown.truth, shown.deployed_truth, _JUDGED_BY["truth"]
    return PageSection(
        title="What the published policy does on requests that no decision used",
        paragraphs=(
            f"{shown.policy} was asked requests of the published split once, after this decision. The figures are"
            f" {by}, with 95 % intervals.",
        ),
        table=PageTable(
            header=("figure", f"deployed model, n {deployed.n}", f"{shown.policy}, n {own.n}"),
            rows=tuple(
                (name, _cell(getattr(deployed, field)), _cell(getattr(own, field))) for field, name in _FIGURES.items()
            ),
        ),
    )


def _cell(found: Measured | None) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if found is not None else "-"
