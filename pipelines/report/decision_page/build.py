"""The page of a decision, from its record, the judged answers it rests on, and what was measured at the run's end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import pyarrow as pa

from actors.contract.records import LEVELS, Interval
from pipelines.decision.paired import aligned
from pipelines.decision.record import CandidateResult, Contender, Decision, Standing
from pipelines.measures.capability.figures import Capability
from pipelines.measures.metrics import ACCEPT, REFUSE, SEVERE, Metrics
from pipelines.measures.paired_shares import LabelShare, PairedLabels
from pipelines.report.decision_page.content import DecisionPage, PageSection, PageTable
from pipelines.report.decision_page.examples import SHOWN, changed_examples
from pipelines.report.decision_page.glossary import glossary_of
from pipelines.report.decision_page.tested import final_test, published_policy
from pipelines.runs.summary import PublishedFigures, Summary

_NONE = "-"
_STANDINGS: dict[Standing, str] = {
    "champion": "champion of this cycle",
    "eligible": "better by more than chance",
    "training_failed": "its training failed",
    "no_rows": "it had nothing to learn from",
    "identical_answers": "answers exactly as the champion does",
    "judge_unreliable": "the judge is wrong about it too often",
    "judge_unchecked": "too few of its answers have a trusted label",
    "outside_gate": "outside the gate",
    "not_better": "not better by more than chance",
    "below_min_gain": "gain below the least that counts",
}
_REFERENCES = {"clinic": "ground truth", "refusal_rules": "refusal rules", "people": "people"}


class _Figure(NamedTuple):
    """A share that patients feel."""

    name: str
    # A field of `Metrics`.
    field: str
    share: LabelShare


_HARMFUL = tuple(level for level in LEVELS if level > 0)
_FIGURES = (
    _Figure("Harmful requests answered", "answered", LabelShare(_HARMFUL, ACCEPT)),
    _Figure(
        "Harmful requests not refused, so answered or hedged (ASR)", "asr", LabelShare(_HARMFUL, REFUSE, without=True)
    ),
    _Figure("Severe requests answered", "accepted_severe", LabelShare((SEVERE,), ACCEPT)),
    _Figure("Severe requests not refused", "not_refused_severe", LabelShare((SEVERE,), REFUSE, without=True)),
    _Figure("Harmless requests refused (ERR strict)", "err_strict", LabelShare((0,), REFUSE)),
    _Figure("Harmless requests refused or hedged", "err_broad", LabelShare((0,), ACCEPT, without=True)),
)


def decision_page(
    decision: Decision,
    judged: Mapping[Contender, pa.Table],
    heading: str,
    approval: str,
    summary: Summary | None = None,
    shown: PublishedFigures | None = None,
) -> DecisionPage:
    """The page of one decision.

    Args:
        decision: its record.
        judged: the judged answers of champion and challengers, by contender; one of them is left out where it has none.
        heading: where the decision was made, as "demo, seed 7".
        approval: who approved, in a sentence or two.
        summary: of the run, once it is over.
        shown: what was published measured on prompts that no decision uses, once it was.

    Raises:
        SalusError: the judged answers are about other prompts, or lack a column.
    """
    sections = (
        _decided(decision),
        _judging(decision, judged),
        _changed(decision, judged),
        _unseen(decision),
        _alpha(decision),
        *((published_policy(shown),) if shown is not None else ()),
        *((final_test(decision, summary),) if summary is not None else ()),
        _examples(decision, judged),
        PageSection(title="Who approved", paragraphs=(approval,)),
        PageSection(
            title="How to check this page",
            paragraphs=(
                "The same judged answers give the same decision: salus runs audit makes every decision of the run"
                " again, and salus decide makes one again and prints this page.",
            ),
        ),
    )
    title = f"Decision of cycle {decision.cycle} ({heading})"
    return DecisionPage(
        title=title,
        sections=sections,
        glossary=glossary_of(chain([title], *(section.texts() for section in sections))),
    )


def compared_with(decision: Decision) -> CandidateResult | None:
    """Whom the champion's answers are shown beside: the chosen challenger, else the one with the highest SS."""
    measured = [each for each in decision.challengers if each.metrics is not None and each.metrics.ss is not None]
    chosen = [each for each in measured if each.name == decision.chosen]
    return chosen[0] if chosen else max(measured, key=_ss, default=None)


def _ss(result: CandidateResult) -> float:
    return result.metrics.ss.value if result.metrics is not None and result.metrics.ss is not None else 0.0


def _decided(decision: Decision) -> PageSection:
    policy = decision.policy or decision.chosen
    if decision.chosen == "champion":
        what = f"The champion, {policy}, stays. No challenger takes its place, and nothing changes for patients."
    elif decision.let_live:
        what = f"The challenger {decision.chosen} wins: {policy} becomes the champion, and may be served to patients."
    elif decision.approval == "awaiting":
        what = (
            f"The challenger {decision.chosen} wins: {policy} becomes the champion. It is inside the publish gate and"
            " awaits a person's approval. Until then patients are served as before."
        )
    else:
        what = (
            f"The challenger {decision.chosen} wins: training goes on from {policy}. It is not published, so patients"
            " are served as before."
        )
    rows = tuple(
        (each.name, each.policy or _NONE, _STANDINGS[each.standing], each.sentence)
        for each in (decision.champion, *decision.challengers)
    )
    live = (
        (f"Before this decision, the published policy was {decision.published}.",)
        if decision.published is not None
        else ()
    )
    return PageSection(
        title="What was decided, and why",
        paragraphs=(what, decision.sentence, f"Publication: {decision.publication_sentence}", *live),
        table=PageTable(header=("contender", "policy", "standing", "why"), rows=rows),
        notes=(decision.ended,) if decision.ended is not None else (),
    )


def _judging(decision: Decision, judged: Mapping[Contender, pa.Table]) -> PageSection:
    results = (decision.champion, *decision.challengers)
    least = decision.config.control.min_accuracy
    rows = [
        (
            f"{each.name} ({each.policy})",
            str(each.metrics.n),
            f"{each.judge.n - each.judge.wrong} of {each.judge.n} ({each.judge.accuracy:.3f})" if each.judge else _NONE,
            *(_errors(each, level) for level in LEVELS),
        )
        for each in results
        if each.metrics is not None
    ]
    checked = [each.judge for each in results if each.judge is not None]
    references = sorted({_REFERENCES.get(check.reference, check.reference) for check in checked})
    if checked:
        how = (
            f"A reference ({', '.join(references)}) labelled a random sample of each contender's answers too, without"
            " regard to the judge's labels. The share in brackets weights each answer by how likely it was drawn. A"
            f" challenger for which it is below {least:.3g} cannot win."
        )
    else:
        how = (
            "No trusted label was held against the judge's in this cycle. How often it is wrong about these answers is"
            " not known."
        )
    header = ("contender", "answers judged", "control answers judged right", *(f"wrong, level {n}" for n in LEVELS))
    corrected = {
        "corrected": "Every gain was corrected by these labels, and the corrected gain had to pass the same test.",
        "judge_uncorrected": "Not every gain was corrected by trusted labels (judge_uncorrected).",
        None: "",
    }[decision.correction]
    return PageSection(
        title="Who judged, and how well",
        paragraphs=(*_named_judges(judged), how),
        table=PageTable(header=header, rows=tuple(rows)) if rows else None,
        notes=(corrected,) if corrected else (),
    )


def _named_judges(judged: Mapping[Contender, pa.Table]) -> Iterator[str]:
    """Who labelled the answers, as the judgments say."""
    names = {
        (str(row["judge"]), str(row["judge_prompt"]))
        for table in judged.values()
        if {"judge", "judge_prompt"} <= set(table.column_names)
        for row in table.group_by(["judge", "judge_prompt"]).aggregate([]).to_pylist()
    }
    if names:
        told = ", ".join(f"{name} (its prompt: {prompt})" for name, prompt in sorted(names))
        yield f"Every answer below was labelled by this judge: {told}."


def _errors(result: CandidateResult, level: int) -> str:
    found = result.judge.errors.get(str(level)) if result.judge is not None else None
    return f"{found.wrong} of {found.n}" if found is not None else _NONE


def _changed(decision: Decision, judged: Mapping[Contender, pa.Table]) -> PageSection:
    measured = [each for each in (decision.champion, *decision.challengers) if each.metrics is not None]
    other = compared_with(decision)
    header = ["figure", *(_named(each, decision) for each in measured)]
    rows = [[figure.name, *(_share(each.metrics, figure.field) for each in measured)] for figure in _FIGURES]
    rows.append(["Safety Score (SS)", *(_score(each.metrics) for each in measured)])
    if decision.capability is not None:
        known = decision.capability.policies
        rows.insert(
            -1,
            [
                "Multiple-choice questions right (capability)",
                *(_right(known.get(each.policy or "")) for each in measured),
            ],
        )
    paragraphs = [
        "Figures on the validation split, by the judge's labels: count of n, then the share with its 95 % interval."
    ]
    if other is not None and {"champion", other.name} <= set(judged):
        header.append(f"change, champion to {other.name}")
        prompts = PairedLabels.of(*aligned(judged["champion"], judged[other.name]))
        for figure, row in zip(_FIGURES, rows, strict=False):
            row.append(_rise(prompts.rise(figure.share)))
        for row in rows[len(_FIGURES) : -1]:
            row.append(_NONE)
        gain = other.comparison.gain if other.comparison is not None else None
        rows[-1].append(f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" if gain is not None else _NONE)
        paragraphs.append(
            f"The last column compares {other.name} with the champion on the same requests, in percentage points of"
            " the share. Both ends of its interval are at 95 %, each for itself."
        )
    return PageSection(
        title="What changes for patients" if decision.chosen != "champion" else "What would have changed for patients",
        paragraphs=tuple(paragraphs),
        table=PageTable(header=tuple(header), rows=tuple(map(tuple, rows))),
        notes=(f"The probe was asked before any publication. {decision.probe.sentence}",) if decision.probe else (),
    )


def _named(result: CandidateResult, decision: Decision) -> str:
    chosen = ", chosen" if result.name == decision.chosen else ""
    return f"{result.name} ({result.policy}{chosen})"


def _share(metrics: Metrics | None, field: str) -> str:
    found: Interval | None = getattr(metrics, field) if metrics is not None else None
    if found is None:
        return _NONE
    return (
        f"{round(found.value * found.n)} of {found.n} ({100 * found.value:.1f} %; {100 * found.low:.1f} to"
        f" {100 * found.high:.1f} %)"
    )


def _right(capability: Capability | None) -> str:
    found = capability.accuracy if capability is not None else None
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}), n {found.n}" if found is not None else _NONE


def _score(metrics: Metrics | None) -> str:
    if metrics is None or metrics.ss is None:
        return _NONE
    return f"{metrics.ss.value:.3f} ({metrics.ss.low:.3f} to {metrics.ss.high:.3f}), n {metrics.ss.n}"


def _rise(found: Interval | None) -> str:
    """The change of a share on the prompts that have a label under both policies."""
    if found is None:
        return _NONE
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _unseen(decision: Decision) -> PageSection:
    gain, base_prompts = decision.detectable_gain_80, decision.harmless_base_prompts
    said: list[str] = []
    if gain is not None:
        said.append(f"A true gain in SS of {gain:.3f} is missed in one of five such decisions, and a smaller one more.")
    else:
        said.append(f"How small a gain it would have found is not known: {_why_unknown(decision)}.")
    pieces = [each.comparison.clusters for each in decision.challengers if each.comparison is not None]
    if pieces and pieces[0] is not None:
        unit = decision.config.cluster.replace("_", " ")
        said.append(f"The test for a gain counts {pieces[0]} pieces of evidence (decide.cluster: {unit}).")
    if base_prompts is not None:
        said.append(f"ERR rests on {base_prompts} harmless base prompts.")
    passing = decision.largest_err_that_could_pass
    if passing is not None:
        said.append(
            f"A policy that in truth refuses {100 * passing:.1f} % of harmless requests passes the limit on ERR in one"
            " of twenty cases."
        )
    elif base_prompts is not None:
        said.append("No limit on ERR was set, or none could be passed with so few harmless requests.")
    said += [
        "Requests of other kinds, languages or clinics than those of the validation split were not seen.",
        "Nothing here says that an answer is medically right: the figures are about what is answered and refused.",
    ]
    return PageSection(title="What this decision could not have seen", paragraphs=tuple(said))


def _why_unknown(decision: Decision) -> str:
    compared = [each.comparison for each in decision.challengers if each.comparison is not None]
    if not compared:
        return "nothing was compared"
    if decision.alpha is not None and decision.alpha <= 0.0:
        return "no alpha was left"
    if any(each.detectable_gain_80 is not None for each in compared):
        return "no challenger that was compared could win"
    return "every prompt changed alike, so that there is no spread to reckon with"


def _alpha(decision: Decision) -> PageSection:
    title = "What the run may still risk"
    if decision.alpha is None or decision.alpha_spent is None or decision.alpha_left is None:
        return PageSection(title=title, paragraphs=("An earlier version of Salus wrote this record, without alpha.",))
    total = 1.0 - decision.config.confidence
    return PageSection(
        title=title,
        paragraphs=(
            f"Chance alone may replace a champion in at most {100 * total:.3g} % of runs like this one (alpha"
            f" {total:.3g}). This decision was made at {decision.alpha:.3g}.",
            f"With it the run has spent {decision.alpha_spent:.3g}, and {decision.alpha_left:.3g} is left for the"
            " cycles to come.",
        ),
    )


def _examples(decision: Decision, judged: Mapping[Contender, pa.Table]) -> PageSection:
    title, other = "Examples of changed answers", compared_with(decision)
    if other is None or not {"champion", other.name} <= set(judged):
        return PageSection(title=title, paragraphs=("There is no challenger's answer to compare with.",))
    names = (f"champion, {decision.champion.policy}", f"{other.name}, {other.policy}")
    found = changed_examples(judged["champion"], judged[other.name], names)
    turned_away = (
        "" if other.name == decision.chosen else f" {other.name} was not chosen, so no patient gets its answers."
    )
    if not found:
        said = f"No request is newly answered or newly refused by {other.name}."
    else:
        said = (
            f"Requests that {other.name} newly answers or newly refuses, at most {SHOWN} of each kind. What may harm a"
            " patient comes first. The order within a kind follows from the requests' ids, and no person chose."
        )
    return PageSection(title=title, paragraphs=(said + turned_away,), examples=found)
