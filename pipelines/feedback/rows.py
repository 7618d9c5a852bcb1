"""Items of feedback -> training rows: one voice per caller, the majority's word, a bounded share, callers in turn.

Thumbs mark unpaired rows (up: desirable, down: undesirable). A correction is a pair (chosen: the correction, rejected:
the answer) and a desirable unpaired row of its own. Everything depends on the items and the seed alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from actors.contract.conversation import context_of, turns_of
from actors.contract.records import RowKind
from actors.contract.seeds import derive_seed
from pipelines.config.preference import FeedbackRowsConfig
from pipelines.data.row_order import DPO_SCHEMA, KTO_SCHEMA, placed, shuffled

_DRAWS = 2**31


@dataclass(frozen=True)
class CallerVote:
    """One item's word on one question: `yes` or no."""

    question: tuple[str, ...]
    yes: bool
    caller: str
    # When, and in what order at the same time.
    at: tuple[Any, str]


@dataclass(frozen=True)
class MajorityVerdict:
    """What most callers say to a question, and who they are."""

    question: tuple[str, ...]
    yes: bool
    callers: tuple[str, ...]


def feedback_table(
    items: pa.Table, kind: RowKind, config: FeedbackRowsConfig, seed: int, own_rows: int, control: bool = False
) -> pa.Table:
    """Rows of `KTO_SCHEMA` or `DPO_SCHEMA` that go with `own_rows` others, at most `max_share` of all.

    Args:
        items: rows of `pipelines.feedback.items.ITEM_SCHEMA`.
        control: labels say nothing (`PreferenceConfig.shuffle_labels`).
    """
    found = kto_verdicts(items, config, seed) if kind == "unpaired" else pair_verdicts(items, config, seed)
    weight = config.kto_weight if kind == "unpaired" else config.pair_weight
    rows = [_kto(v) if kind == "unpaired" else _pair(v) for v in in_turn(found, seed)]
    rows = list(repeated(rows, weight, seed))[: most_rows(own_rows, config.max_share)]
    if control:
        rows = shuffled(rows, seed)
    return placed(rows, KTO_SCHEMA if kind == "unpaired" else DPO_SCHEMA, seed)


def kto_verdicts(items: pa.Table, config: FeedbackRowsConfig, seed: int) -> list[MajorityVerdict]:
    """Whether an answer to a conversation is desirable: (context if any, prompt, answer)."""
    return majority(
        CallerVote(
            (*_asked(item, config), item["correction"] or item["answer"]), item["verdict"] != "down", *_who(item)
        )
        for item in _bounded(items, config, seed)
    )


def pair_verdicts(items: pa.Table, config: FeedbackRowsConfig, seed: int) -> list[MajorityVerdict]:
    """Which of two answers is better: (context if any, prompt, one, other), yes: the first one."""
    return majority(
        CallerVote((*_asked(item, config), *sorted(texts)), texts[0] == min(texts), *_who(item))
        for item in _bounded(items, config, seed)
        if item["verdict"] == "corrected" and (texts := (item["correction"], item["answer"]))[0] != texts[1]
    )


def majority(votes: Iterable[CallerVote]) -> list[MajorityVerdict]:
    """What most callers say to each question, each by its last word; where they are even, there is no verdict."""
    last: dict[tuple[str, ...], dict[str, CallerVote]] = defaultdict(dict)
    for vote in sorted(votes, key=lambda v: v.at):
        last[vote.question][vote.caller] = vote
    verdicts = []
    for question, by_caller in sorted(last.items()):
        sides = {yes: tuple(sorted(c for c, v in by_caller.items() if v.yes is yes)) for yes in (True, False)}
        yes = len(sides[True]) > len(sides[False])
        if len(sides[True]) != len(sides[False]):
            verdicts.append(MajorityVerdict(question, yes, sides[yes]))
    return verdicts


def in_turn(verdicts: Sequence[MajorityVerdict], seed: int) -> list[MajorityVerdict]:
    """An order in which every caller's first comes before any caller's second; who is first is drawn."""
    drawn = sorted(verdicts, key=lambda v: (derive_seed(seed, "feedback", *v.question), v.question))
    given: defaultdict[str, int] = defaultdict(int)
    turns = []
    for place, verdict in enumerate(drawn):
        turns.append((min(given[caller] for caller in verdict.callers), place))
        for caller in verdict.callers:
            given[caller] += 1
    return [drawn[place] for _, place in sorted(turns)]


def repeated(rows: Sequence[dict[str, Any]], weight: float, seed: int) -> Iterator[dict[str, Any]]:
    """Rows as often as the weight says, all once before any twice; a fraction is a share of the rows, drawn by content.

    The key `copy` tells equal rows apart, from each other and from rows that are no feedback.
    """
    whole, fraction = divmod(weight, 1)
    for copy in range(int(whole) + 1):
        for row in rows:
            texts = (str(row[name]) for name in sorted(row))
            if copy < whole or derive_seed(seed, "copy", *texts) < fraction * _DRAWS:
                yield row | {"copy": copy}


def most_rows(own_rows: int, max_share: float) -> int:
    """The most rows of feedback that are no more than `max_share` of all together with `own_rows` others."""
    most = int(own_rows * max_share / (1 - max_share))
    # A product of fractions may be just beside a whole number.
    return most + (most + 1 <= max_share * (own_rows + most + 1))


def _bounded(items: pa.Table, config: FeedbackRowsConfig, seed: int) -> Iterator[dict[str, Any]]:
    """At most `max_per_caller` items of each caller, drawn by their ids."""
    taken: defaultdict[str, int] = defaultdict(int)
    rows = items.to_pylist()
    for item in sorted(rows, key=lambda i: (derive_seed(seed, "item", i["feedback_id"]), i["feedback_id"])):
        taken[item["caller"]] += 1
        if taken[item["caller"]] <= config.max_per_caller:
            yield item


def _who(item: dict[str, Any]) -> tuple[str, tuple[Any, str]]:
    return item["caller"], (item["at"], item["feedback_id"])


def _kto(verdict: MajorityVerdict) -> dict[str, Any]:
    *context, prompt, answer = verdict.question
    return {"prompt": prompt, "completion": answer, "label": verdict.yes, "level": None} | _with(context)


def _pair(verdict: MajorityVerdict) -> dict[str, Any]:
    *context, prompt, one, other = verdict.question
    chosen, rejected = (one, other) if verdict.yes else (other, one)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "level": None} | _with(context)


def _asked(item: dict[str, Any], config: FeedbackRowsConfig) -> tuple[str, ...]:
    """What an item's answer answers: the turns before the last one, where there are some, and the last one."""
    context = context_of(turns_of(item["conversation"])) if config.other_turns == "keep" else None
    return (context, item["prompt"]) if context is not None else (item["prompt"],)


def _with(context: Sequence[str]) -> dict[str, Any]:
    return {"context": context[0]} if context else {}
