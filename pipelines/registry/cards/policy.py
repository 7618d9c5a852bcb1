"""The model card of a registered policy: what it is for, where it comes from, how good, and how far to believe it.

Names paths of no machine, so that it can leave with the weights.
"""

from __future__ import annotations

from collections import defaultdict

from jinja2 import Environment

from actors.contract.records import METHODS
from actors.judges.regimens import REGIMENS
from actors.judges.rules import RULES_JUDGE
from pipelines.registry.cards.head import front_matter
from pipelines.registry.entry import PolicyEntry, TrainingData
from pipelines.registry.figures import in_words, judge_figures, published_figures, tested_figures, validation_figures
from pipelines.report.markdown import markdown_environment

TEMPLATE = "card.md.jinja"


def model_card(entry: PolicyEntry) -> str:
    """The text of the entry's `README.md`: YAML front matter, then sections; text of others is escaped."""
    methods, judged = _judged(entry.data)
    body = fill(
        TEMPLATE,
        entry=entry,
        origin=entry.origin,
        data=entry.data,
        validation=entry.validation,
        judge=entry.judge,
        english_only=REGIMENS[entry.judge.regimen].english_only or RULES_JUDGE in (entry.judge.name or ""),
        built_here=entry.base.source in ("clinic", "medsafety"),
        chain=[entry.version, *(ancestor.version or ancestor.run_version for ancestor in entry.ancestors)],
        methods=methods,
        judged=judged,
        validation_figures=validation_figures,
        published_figures=published_figures,
        tested_figures=tested_figures,
        judge_figures=judge_figures,
        in_words=in_words,
    )
    return f"---\n{front_matter(entry, 'transformers')}\n---\n\n{body}"


def fill(template: str, **values: object) -> str:
    """The text of a template of this package; every expression in it is escaped."""
    return environment().get_template(template).render(**values)


def environment() -> Environment:
    """Templates of which every expression is escaped, without exception."""
    return markdown_environment("pipelines.registry.cards")


def _judged(data: TrainingData | None) -> tuple[list[str], dict[int, dict[str, int]]]:
    """Methods in their usual order, and the judged answers by harm level and method."""
    if data is None:
        return [], {}
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in sorted(data.judged, key=lambda each: each.level):
        counts[each.level][each.method] = each.n
    found = {each.method for each in data.judged}
    return [*(m for m in METHODS if m in found), *sorted(found - set(METHODS))], counts
