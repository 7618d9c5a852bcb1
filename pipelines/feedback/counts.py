"""What a folder of feedback holds: counted, and as the tables a person reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Group, RenderableType
from rich.text import Text

from actors.serve.feedback.records import VERDICTS, Verdict
from pipelines.report.cells import narrow_table


@dataclass(frozen=True)
class FeedbackCounts:
    """Items by verdict for each policy, caller and day (UTC), and what of them contradicts."""

    items: int
    verdicts: Counter[Verdict]
    by: Mapping[str, Mapping[str, Counter[Verdict]]]
    # Items about an answer that was not captured, or has expired.
    unknown_answers: int
    # Answers to one prompt that some callers call good and others bad.
    conflicts: int
    # Those of them in which neither side has more callers.
    ties: int


def count_feedback(items: pa.Table) -> FeedbackCounts:
    """Counts of rows of `pipelines.feedback.items.ITEM_SCHEMA`."""
    by: dict[str, defaultdict[str, Counter[Verdict]]] = {n: defaultdict(Counter) for n in ("policy", "caller", "day")}
    sides: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    unknown = 0
    verdicts: Counter[Verdict] = Counter()
    for item in sorted(items.to_pylist(), key=lambda i: (i["at"], i["feedback_id"])):
        places = {"policy": item["policy"], "caller": item["caller"], "day": item["at"].date().isoformat()}
        for name, value in places.items():
            by[name][value][item["verdict"]] += 1
        verdicts[item["verdict"]] += 1
        unknown += item["answer"] is None
        if item["answer"] is not None and item["verdict"] != "corrected":
            sides[item["prompt"], item["answer"]][item["caller"]] = item["verdict"]
    split = [Counter(said.values()) for said in sides.values() if len(set(said.values())) > 1]
    return FeedbackCounts(
        items=items.num_rows,
        verdicts=verdicts,
        by={name: dict(sorted(values.items())) for name, values in by.items()},
        unknown_answers=unknown,
        conflicts=len(split),
        ties=sum(votes["up"] == votes["down"] for votes in split),
    )


def feedback_tables(counts: FeedbackCounts) -> Group:
    """A table for each way of counting, and a line on what contradicts or cannot be used."""
    parts: list[RenderableType] = []
    for name, values in counts.by.items():
        table = narrow_table(name)
        for verdict in (*VERDICTS, "all"):
            table.add_column(verdict, justify="right")
        for value, verdicts in values.items():
            numbers = (*(verdicts[verdict] for verdict in VERDICTS), verdicts.total())
            table.add_row(Text(value), *map(str, numbers))
        parts.append(table)
    parts.append(Text(_line(counts)))
    return Group(*parts)


def _line(counts: FeedbackCounts) -> str:
    verdicts = ", ".join(f"{verdict} {counts.verdicts[verdict]}" for verdict in VERDICTS)
    return (
        f"{counts.items} in all ({verdicts}); answers called good and bad: {counts.conflicts} ({counts.ties} of them"
        f" evenly); about answers that are not kept: {counts.unknown_answers}"
    )
