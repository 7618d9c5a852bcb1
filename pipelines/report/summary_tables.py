"""The tables a person reads at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from actors.contract.records import ChallengerName, Interval
from actors.judges.harmfulness import SCORE_WORDS
from pipelines.data.sets.social.bias import CONDITIONS
from pipelines.measures.capability.bias import Bias
from pipelines.measures.capability.figures import Capability
from pipelines.measures.capability.toxicity import Toxicity
from pipelines.measures.harmfulness import Harmfulness, MeanScore
from pipelines.measures.schemes import SchemeFigures
from pipelines.report.cells import NO_SPREAD, NOTHING, ends_text, narrow_table
from pipelines.runs.summary import (
    GROUND_TRUTH,
    CycleFigures,
    CycleSummary,
    FineTuned,
    HarmfulnessTest,
    HeldOutTest,
    JudgedBy,
    Measured,
    PublishedFigures,
    Summary,
    TestFigures,
    TestSummary,
    challengers_of,
)

COLUMNS = ("multiple choice\naccuracy", "perplexity of\nreferences", "harmless\naccepted")


def cycles_table(cycles: Sequence[CycleSummary]) -> Group:
    """One row per cycle: the champion it started from, its challengers, who won; below, each reason why."""
    table = narrow_table(title="Cycles: validation split, by the run's judge")
    table.add_column("cycle", justify="right")
    names = challengers_of(cycles)
    for who in ("champion", *(name.upper() for name in names)):
        table.add_column(f"{who}\nSS/ERR\nASR/ans.", justify="right", no_wrap=True)
    table.add_column("decision")
    table.add_column("published", overflow="fold", min_width=9)
    for cycle in cycles:
        table.add_row(
            str(cycle.cycle),
            _three(cycle.incumbent_figures, cycle.decision == "champion"),
            *(_challenger(cycle, name) for name in names),
            cycle.decision,
            cycle.published_version or NOTHING,
        )
    table.caption = (
        "ERR: harmless requests refused; ASR: harmful requests not refused; ans.: harmful requests answered in full."
    )
    # Sentences would squeeze every column of the table; markup in them is not ours.
    return Group(
        table, *(Text(words) for cycle in cycles for words in (cycle.why, _probed(cycle), cycle.ended) if words)
    )


def _probed(cycle: CycleSummary) -> str | None:
    return f"Cycle {cycle.cycle}: {cycle.probe.sentence}" if cycle.probe is not None else None


def test_table(test: TestSummary, judged_by: JudgedBy | None = None, reference: str | None = None) -> Table:
    """The final test: each policy's figures with their 95 % intervals; baselines last."""
    by = {"judge": ", by the run's judge", "truth": f", by {reference or GROUND_TRUTH}", None: ""}[judged_by]
    table = narrow_table(title=f"Test split, once{by}; 95 % intervals")
    table.add_column("policy", no_wrap=True)
    for name in ("SS", "SS\nmacro", "ERR\nstrict", "ERR\nbroad", "ASR", "ans-\nwered"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    for name in type(test).model_fields:
        figures: TestFigures | None = getattr(test, name)
        # Summaries of earlier versions have fewer baselines.
        if figures is None:
            continue
        style = "bold" if name == "champion" else None
        table.add_row(name, *_figures(figures), str(figures.n), style=style)
    return table


# pytest collects whatever is called test_*, wherever it is imported.
test_table.__test__ = False  # type: ignore[attr-defined]


def published_table(published: Sequence[PublishedFigures], reference: str | None = None) -> Table:
    """Each published policy once, on prompts that no decision uses; first the model the run began with."""
    by_truth = all(each.truth is not None for each in published)
    by = (reference or GROUND_TRUTH) if by_truth else "the judge of its cycle"
    table = narrow_table(title=f"Published policies, by {by}; 95 % intervals")
    table.add_column("policy", no_wrap=True)
    for name in ("SS", "ERR\nstrict", "ASR", "ans-\nwered"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    first = published[0]
    rows = {"deployed": first.deployed_truth if by_truth else first.deployed}
    rows |= {each.policy: each.truth if by_truth else each.figures for each in published}
    for policy, figures in rows.items():
        if figures is not None:
            shown = (figures.ss, figures.err_strict, figures.asr, figures.answered)
            table.add_row(policy, *map(_with_interval, shown), str(figures.n))
    table.caption = "Prompts of their own that no decision uses: each policy answered them once, after its decision."
    return table


def attack_table(summary: Summary) -> Table | None:
    """Attack success of base and champion, in all and by what training has seen; None where neither is of interest.

    The columns of Egida's comparison (arXiv 2502.13603): attack success, unseen topics and styles, over-refusal.
    By a guard where one judged, else the share of harmful requests that are not refused.
    """
    by_guard = summary.test.champion.attack_success is not None
    if not by_guard and not summary.held_out:
        return None
    probes = _probe_columns(summary)
    held_out = list((summary.held_out or {}).values())
    shown = [name for name in HeldOutTest.model_fields if any(getattr(of, name) is not None for of in held_out)]
    table = narrow_table(title=f"Attack success {'by the guard' if by_guard else '(ASR)'}, test split; 95 % intervals")
    table.add_column("policy", no_wrap=True)
    for name in ("all", *(_HELD_OUT[name] for name in shown), *probes):
        table.add_column(name, justify="right", no_wrap=True)
    for policy in ("base", "champion"):
        groups = (summary.held_out or {}).get(policy, HeldOutTest())
        figures: list[TestFigures | None] = [getattr(summary.test, policy)]
        figures += [getattr(groups, name) for name in shown]
        rates = [None if of is None else of.attack_success if by_guard else of.asr for of in figures]
        refused = [summary.measured[f"{name}_{policy}"] for name in probes.values()] if summary.measured else []
        table.add_row(policy, *map(_with_interval, (*rates, *refused)))
    table.caption = _cost(summary)
    return table


def _cost(summary: Summary) -> str:
    """What the run cost, as far as GPUs have a price."""
    use = summary.gpu_use
    if use is None:
        return f"The run took {summary.wall_s:.0f} s and no GPU, so that it has no price."
    if use.money is None:
        return f"The run took {use.gpu_hours:.3g} GPU-hours. cluster.gpu_hour_price gives them a price."
    return f"The run took {use.gpu_hours:.3g} GPU-hours, at a price of {use.money:,.2f}."


_HELD_OUT = {
    "styles_seen": "seen\nstyles", "styles_held_out": "held-out\nstyles",
    "topics_seen": "seen\ntopics", "topics_held_out": "held-out\ntopics",
}  # fmt: skip


def _probe_columns(summary: Summary) -> dict[str, str]:
    """Headings of the probe's columns, with the beginning of their names in the summary."""
    names = {name.removesuffix("_champion") for name in summary.measured or {} if name.endswith("_refused_champion")}
    return {f"{name.split('_safe_')[0]}\nrefused": name for name in sorted(names)}


def schemes_table(found: Sequence[SchemeFigures]) -> Table:
    """Base and champion asked in several ways, a row each, with the tokens that a prompt takes."""
    table = narrow_table(title="Inference schemes, test split, by the run's judge; 95 % intervals")
    table.add_column("scheme", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    for name in ("SS", "ERR\nstrict", "ASR", "ans-\nwered", "tokens\nread", "tokens\nwritten", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        figures = map(_with_interval, (each.ss, each.err_strict, each.asr, each.answered))
        cost = (f"{each.read_tokens:.0f}", f"{each.written_tokens:.0f}", str(each.n))
        table.add_row(each.scheme or "as deployed", each.policy, *figures, *cost)
    table.caption = "Tokens of one prompt: as the policy reads it, and of all its sampled answers. None is selected by."
    return table


def harmfulness_table(found: HarmfulnessTest) -> Table:
    """How harmful base's and champion's answers are: mean score, share of each score, n, and coverage."""
    table = narrow_table(title="Harmfulness, 1 to 5, by the run's judge; 95 % intervals")
    table.add_column("policy", no_wrap=True)
    for name in ("mean", *SCORE_WORDS, "n", "coverage"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in type(found).model_fields:
        of: Harmfulness = getattr(found, name)
        shares = [f"{count / of.n:.2f}" if of.n else NOTHING for count in of.counts]
        figures = (_with_interval(of.mean), *shares, str(of.n), f"{of.coverage:.3f}")
        table.add_row(name, *figures, style="bold" if name == "champion" else None)
    table.caption = "Harmful test prompts; 1 declines, 5 complies fully; coverage: share with a score."
    return table


def scores_by_source(found: HarmfulnessTest) -> Table:
    """The mean harmfulness by source and category of the prompts, before and after, each with its standard error."""
    table = narrow_table(title="Harmfulness by the prompts' source, 1 to 5; mean and standard error")
    table.add_column("prompts", overflow="fold")
    for name in ("base", "champion", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for source in sorted({*found.base.by_source, *found.champion.by_source}):
        of = [each.by_source.get(source) for each in (found.base, found.champion)]
        n = next(score.n for score in of if score is not None)
        table.add_row(Text(source), *map(_score, of), str(n))
    return table


def fine_tuned_tables(found: FineTuned) -> Group:
    """What fine-tuning on demonstrations did before the cycles, on the test split."""
    by = "ground truth" if found.judged_by == "truth" else "the run's judge"
    table = narrow_table(title=f"Fine-tuned on {found.demonstrations:,} demonstrations; test split, by {by}")
    table.add_column("policy", no_wrap=True)
    for name in ("SS", "ERR\nstrict", "ASR", "ans-\nwered", "harmfulness\nmean (s.e.)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    scores = found.harmfulness
    rated = (scores.base, scores.champion) if scores is not None else (None, None)
    for name, figures, score in zip(("deployed", found.policy), (found.before, found.after), rated, strict=True):
        shown = (figures.ss, figures.err_strict, figures.asr, figures.answered)
        table.add_row(name, *map(_with_interval, shown), _rated(score), str(figures.n))
    more: list[Table | Group] = [scores_by_source(scores)] if scores is not None and scores.champion.by_source else []
    if (kept := found.capability) is not None:
        named = {"deployed": kept.base, found.policy: kept.champion}
        more.append(capability_tables(named, "Capability, before and after fine-tuning: test split; 95 % intervals"))
    return Group(table, *more)


def _rated(score: Harmfulness | None) -> str:
    if score is None or score.mean is None:
        return NOTHING
    return _score(MeanScore(mean=score.mean.value, se=score.se, n=score.n))


def _score(score: MeanScore | None) -> str:
    if score is None:
        return NOTHING
    return f"{score.mean:.2f} ({score.se:.2f})" if score.se is not None else f"{score.mean:.2f}"


def capability_table(policies: Mapping[str, Capability], title: str) -> Table:
    """Each policy's accuracy, perplexity and helpfulness, with interval and n; what was not measured is a dash."""
    table = narrow_table(title=title)
    table.add_column("policy", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, found in policies.items():
        table.add_row(name, *map(_shown, (found.accuracy, found.perplexity_per_token, found.helpful)))
    chance = next((found.choices.chance for found in policies.values() if found.choices is not None), None)
    if chance is not None:
        table.caption = f"Guessing scores {chance:.3g}."
    return table


def capability_tables(policies: Mapping[str, Capability], title: str) -> Group:
    """That table, and one of bias and one of continuations, each where it was measured."""
    biased = {name: found.bias for name, found in policies.items() if found.bias is not None}
    continued = {name: found.toxicity for name, found in policies.items() if found.toxicity is not None}
    answered = any(
        figure is not None
        for found in policies.values()
        for figure in (found.accuracy, found.perplexity_per_token, found.helpful)
    )
    tables = [capability_table(policies, title)] if answered or not (biased or continued) else []
    if biased:
        tables.append(bias_table(biased))
    if continued:
        tables.append(toxicity_table(continued))
    return Group(*tables)


def bias_table(policies: Mapping[str, Bias]) -> Table:
    """Each policy's accuracy and bias score by condition, and last by category."""
    table = narrow_table(title="Social bias (questions as BBQ's); 95 % intervals")
    table.add_column("policy", no_wrap=True)
    table.add_column("category", overflow="fold")
    for name in ("accuracy\nambiguous", "bias score\nambiguous", "accuracy\ndisamb.", "bias score\ndisamb."):
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in policies.items():
        for category, of in {"all": found.by_condition, **found.by_category}.items():
            conditions = [of[condition] for condition in CONDITIONS]
            table.add_row(
                name, Text(category), *(_shown(each) for part in conditions for each in (part.accuracy, part.score))
            )
    table.caption = "Bias score: 1 every answer is the stereotype's, -1 every one is against it, 0 neither prevails."
    return table


def toxicity_table(policies: Mapping[str, Toxicity]) -> Table:
    """How each policy goes on with beginnings of texts, by the toxicity of the beginnings."""
    first = next(iter(policies.values()))
    by = "the guard" if first.scored_by == "guard" else "the run's judge"
    table = narrow_table(title=f"Continuations, {first.k} of each beginning, by {by} (not Perspective); 95 % intervals")
    table.add_column("policy", no_wrap=True)
    table.add_column("beginnings", no_wrap=True)
    for name in ("found\nunsafe", "expected\nmaximum", "any of them\nunsafe"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in policies.items():
        for kind, of in (("all", found.all), ("toxic", found.toxic), ("not toxic", found.nontoxic)):
            # Where toxic beginnings alone are scored, they are all.
            if of is not None and (kind != "all" or found.toxic is None or found.nontoxic is not None):
                table.add_row(name, kind, *map(_shown, (of.unsafe, of.expected_maximum, of.probability)))
    table.caption = (
        "Expected maximum: of the guard's probability of unsafe."
        if first.scored_by == "guard"
        else "A continuation of a toxic beginning that the judge labels Accept counts as unsafe."
    )
    return table


def _figures(figures: TestFigures) -> list[str]:
    of = (figures.ss, figures.ss_macro, figures.err_strict, figures.err_broad, figures.asr, figures.answered)
    return [_with_interval(measured) for measured in of]


def _with_interval(measured: Measured | Interval | None) -> str:
    if measured is None:
        return NOTHING
    # Narrow enough for six of them beside each other.
    ends = ends_text(measured.low, measured.high).replace("0.", ".").replace(NO_SPREAD, NO_SPREAD.replace(" ", "\n"))
    return f"{measured.value:.3f}\n{ends}"


def _challenger(cycle: CycleSummary, name: ChallengerName) -> str:
    if name not in cycle.challengers:
        return NOTHING
    missing = (cycle.without_rows or {}).get(name, "failed")
    return _three(cycle.challengers[name], cycle.decision == name, missing)


def _three(figures: CycleFigures | None, winner: bool, missing: str = NOTHING) -> str:
    if figures is None:
        return missing
    lines = ((figures.ss, figures.err_strict), (figures.asr, figures.answered))
    text = "\n".join("/".join(map(_short, line)) for line in lines)
    return f"[bold]{text}[/bold]" if winner else text


def _short(measured: Measured | None) -> str:
    return NOTHING if measured is None else f"{measured.value:.2f}"


def _shown(figure: Interval | None) -> str:
    if figure is None:
        return NOTHING
    return f"{figure.value:.3f}\n{ends_text(figure.low, figure.high)}\nn {figure.n}"
