"""Live and challenger on the same requests: shares of labels, their paired differences, and signs of decay. Pure.

A live request has no known harm level, so there is no Safety Score, ERR or ASR here: a refusal may be right or wrong.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from actors.contract.conversation import turns_of
from actors.contract.records import LABELS, Interval, Label, Record
from actors.files.shards import strings
from pipelines.data.split import group_key
from pipelines.decision.paired import paired_test
from pipelines.measures.bootstrap import RESAMPLES, Floats, Ints, mean_interval
from pipelines.measures.degeneration import repeats
from pipelines.serving.shadow.judgments import SIDES, Side

ANSWERS = ("answer", "challenger_answer")


class SideFigures(Record):
    """What one side's answers are like."""

    # Share of each label among the labelled answers; None where none is labelled.
    shares: dict[Label, Interval | None]
    # Share of answers with a label.
    coverage: float
    # Shares of all answers.
    repeating: float
    empty: float
    cut_off: float
    words_mean: float


class ShadowComparison(Record):
    """One challenger beside one live policy."""

    policy: str
    challenger: str
    requests: int
    # Requests that begin with the same words are drawn together: a conversation is asked about turn by turn.
    conversations: int
    # Requests of more than one turn, of which the judge saw the last.
    several_turns: int
    # Both answers the same, word for word.
    same_answers: int
    # ISO 8601, UTC: the first and the last live answer.
    since: str
    until: str
    sides: dict[Side, SideFigures]
    # Requests of which both answers have a label: what is below is about them.
    paired: int
    # Challenger's share of each label minus the live one's; None where nothing is paired.
    differences: dict[Label, Interval | None]
    # How often the live answer has one label and the challenger's another: labels[live][challenger].
    labels: dict[Label, dict[Label, int]]

    @property
    def disagreements(self) -> int:
        """Pairs with two labels."""
        return self.paired - sum(self.labels[label][label] for label in LABELS)


def compare(records: pa.Table, judgments: pa.Table, seed: int) -> list[ShadowComparison]:
    """A comparison for each pair of a live policy and a challenger, the latest last.

    Args:
        records: rows of `SHADOW_SCHEMA`.
        judgments: `judge_records` of them: the live answers' labels, then the challenger's.
        seed: of the bootstrap.
    """
    n = records.num_rows
    table = records
    for place, side in enumerate(SIDES):
        table = table.append_column(f"label_{side}", judgments["label"].slice(place * n, n))
    names = list(zip(strings(table, "policy"), strings(table, "challenger"), strict=True))
    of_pairs = (
        table.take(pa.array([row for row, name in enumerate(names) if name == pair])) for pair in sorted(set(names))
    )
    return sorted((_comparison(rows, seed) for rows in of_pairs), key=lambda found: found.until)


def _comparison(rows: pa.Table, seed: int) -> ShadowComparison:
    turns = [turns_of(text) for text in strings(rows, "conversation")]
    first = [group_key(next(turn.content for turn in each if turn.role == "user")) for each in turns]
    conversations = np.unique(np.array(first), return_inverse=True)[1].astype(np.int64)
    old, new = (_codes(rows, side) for side in SIDES)
    both = (old >= 0) & (new >= 0)
    counts = Counter(zip(old[both].tolist(), new[both].tolist(), strict=True))
    times: list[Any] = rows["at"].to_pylist()
    return ShadowComparison(
        policy=rows["policy"][0].as_py(),
        challenger=rows["challenger"][0].as_py(),
        requests=rows.num_rows,
        conversations=int(conversations.max()) + 1,
        several_turns=sum(len(each) > 1 for each in turns),
        same_answers=sum(a == b for a, b in zip(*(strings(rows, name) for name in ANSWERS), strict=True)),
        since=min(times).isoformat(timespec="seconds"),
        until=max(times).isoformat(timespec="seconds"),
        sides={
            "live": _side(rows, "live", old, conversations, seed),
            "challenger": _side(rows, "challenger", new, conversations, seed),
        },
        paired=int(both.sum()),
        differences={
            label: mean_over_conversations(
                ((new == code).astype(float) - (old == code))[both], conversations[both], seed, low=-1.0
            )
            for code, label in enumerate(LABELS)
        },
        labels={a: {b: counts[i, j] for j, b in enumerate(LABELS)} for i, a in enumerate(LABELS)},
    )


def _side(rows: pa.Table, side: Side, codes: Ints, conversations: Ints, seed: int) -> SideFigures:
    seen = codes >= 0
    prefix = "" if side == "live" else "challenger_"
    words = [len(answer.split()) for answer in strings(rows, f"{prefix}answer")]
    reasons = strings(rows, f"{prefix}finish_reason")
    return SideFigures(
        shares={
            label: mean_over_conversations((codes[seen] == code).astype(float), conversations[seen], seed)
            for code, label in enumerate(LABELS)
        },
        coverage=float(seen.mean()),
        repeating=float(repeats(rows[f"{prefix}answer"]).mean()),
        empty=words.count(0) / len(words),
        cut_off=reasons.count("length") / len(reasons),
        words_mean=sum(words) / len(words),
    )


def mean_over_conversations(values: Floats, conversations: Ints, seed: int, low: float = 0.0) -> Interval | None:
    """A mean with its interval where whole conversations are drawn; None without any value.

    Args:
        values: from [low, 1].
        conversations: a number for the conversation of each.
        seed: of the bootstrap.
        low: the least a value can be.
    """
    if not len(values):
        return None
    if len(np.unique(values)) == 1:
        # A conversation is one witness, however long it is.
        witnesses = len(np.unique(conversations))
        interval = mean_interval(np.full(witnesses, values[0]), seed, low=low)
        return interval.model_copy(update={"n": len(values)}) if interval is not None else None
    return paired_test(values, conversations, seed, RESAMPLES).gain


def _codes(rows: pa.Table, side: Side) -> Ints:
    """Indices into `LABELS`, -1 where there is no label."""
    labels: list[Label | None] = rows[f"label_{side}"].to_pylist()
    return np.array([-1 if label is None else LABELS.index(label) for label in labels], dtype=np.int64)
