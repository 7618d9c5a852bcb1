"""What `salus runs explain` prints of one prompt."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.contract.conversation import whole_conversation
from actors.contract.records import LABELS, ROW_NAMES
from actors.serve.pages.explained import ExplainedAnswer, Explanation, NearRow, WeightInDecision
from pipelines.report.cells import NOTHING, narrow_table


def explanation_page(found: Explanation) -> Group:
    """The prompt, its answers beside each other, what people and decisions made of it, and the nearest rows."""
    return Group(*_parts(found))


def _parts(found: Explanation) -> Iterator[RenderableType]:
    prompt = found.prompt
    facts = [f"set {found.prompts}", f"harm level {prompt.level}", f"method {prompt.method}", f"source {prompt.source}"]
    if prompt.principle is not None:
        facts.append(f"principle {prompt.principle}")
    yield Text(f"{prompt.prompt_id}: {', '.join(facts)}")
    for turn in whole_conversation(prompt.context, prompt.prompt):
        yield Text(f"  {turn.role}: {turn.content}")
    if prompt.reference is not None:
        yield Text(f"  reference: {prompt.reference}")
    yield _answers(found.answers) if found.answers else Text("No answer to it is judged yet.")
    if found.trusted:
        yield _trusted(found)
    elif found.prompts == "validation":
        yield Text("It was not drawn as a control, so no reference labelled its answers.")
    if found.decisions:
        yield _decisions(found.decisions)
    if found.nearest:
        yield _nearest(found.nearest)


def _answers(answers: tuple[ExplainedAnswer, ...]) -> Table:
    table = narrow_table("policy", "answer", "label", "/".join(LABELS), "judge", "people", title="Answers")
    for each in answers:
        policy = each.policy if each.cycle is None else f"{each.policy}, cycle {each.cycle}, sample {each.sample}"
        table.add_row(
            Text(policy),
            Text(each.answer),
            each.label or NOTHING,
            "/".join(f"{p:.2f}" for p in each.probabilities) if each.probabilities else NOTHING,
            Text(each.judge if each.disagreement is None else f"{each.judge} (apart by {each.disagreement:.2f})"),
            each.people or NOTHING,
        )
    return table


def _trusted(found: Explanation) -> Table:
    table = narrow_table("cycle", "contender", "judge", "reference", "labelled by", title="Control labels")
    for each in found.trusted:
        cells = (each.judge_label or NOTHING, each.reference_label or NOTHING)
        table.add_row(str(each.cycle), f"{each.contender} ({each.policy})", *cells, Text(each.reference))
    return table


def _decisions(decisions: tuple[WeightInDecision, ...]) -> Table:
    names = ("cycle", "challenger", "champion's mark", "its mark", "part of its gain", "chosen")
    table = narrow_table(*names, title="What decisions made of it")
    for each in decisions:
        marks = (NOTHING if mark is None else f"{mark:g}" for mark in (each.champion_mark, each.mark))
        gained = NOTHING if each.share_of_gain is None else f"{each.share_of_gain:+.4f}"
        table.add_row(
            str(each.cycle), f"{each.contender} ({each.policy})", *marks, gained, "yes" if each.chosen else "no"
        )
    return table


def _nearest(rows: tuple[NearRow, ...]) -> Table:
    table = narrow_table("near", "level", "prompt, and what was learnt", title="Nearest prompts of training rows")
    for prompt, of_prompt in groupby(rows, lambda row: row.prompt):
        same = list(of_prompt)
        # The same text is learnt again in later cycles, and by several challengers.
        learnt: dict[tuple[str, str], list[str]] = {}
        for row in same:
            for text in row.texts:
                learnt.setdefault(text, []).append(f"{row.cycle} {ROW_NAMES[row.kind].upper()}")
        said = [
            prompt,
            *(f"{name}: {text} (cycle {', '.join(dict.fromkeys(where))})" for (name, text), where in learnt.items()),
        ]
        level = NOTHING if same[0].level is None else str(same[0].level)
        table.add_row(f"{same[0].similarity:.3f}", level, Text("\n".join(said)))
    return table
