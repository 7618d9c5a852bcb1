"""What a folder of feedback holds, counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from actors.serve.feedback.records import Verdict


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
