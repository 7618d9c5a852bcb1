"""Shards through the pools. `stream`: answers are judged while others are still sampled; `spread`: one pool alone.

The driver holds references and file names only. Back-pressure: `Queues` says how many shards wait at each actor. At
most as many unjudged shards exist as the judges can queue, so a slow judge slows generation down.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import ray
from pydantic import BaseModel, ConfigDict
from ray.exceptions import RayActorError

from actors.contract.span import Span
from actors.errors import SalusError, reason
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from pipelines.cluster.times import Work, engine_work

Task = TypeVar("Task")
# How often actors are looked at that have not answered. Seconds.
LOOK_S = 1.0
# An actor is ended so often for being late; Ray builds it anew and asks it again (`actors.remote`).
REPLACEMENTS = 2


class ShardTask(BaseModel):
    """One shard's way through both pools."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollout: RolloutTask
    judgment: JudgmentTask

    @property
    def done(self) -> bool:
        return Path(self.judgment.output).is_file()


@dataclass
class StreamReport:
    """When each shard was generated and judged."""

    generated: list[Span] = field(default_factory=list)
    judged: list[Span] = field(default_factory=list)
    most_unjudged: int = 0

    def add(self, other: StreamReport) -> None:
        """Take in what a later pass over the same tasks did."""
        self.generated += other.generated
        self.judged += other.judged
        self.most_unjudged = max(self.most_unjudged, other.most_unjudged)

    @property
    def work(self) -> list[Work]:
        """When each engine of both pools worked."""
        return [*engine_work("generator", self.generated), *engine_work("judge", self.judged)]

    @property
    def overlapped(self) -> bool:
        """Whether a judge began before the last shard was generated."""
        return bool(self.judged) and self.judged[0].start_s < max((s.end_s for s in self.generated), default=0.0)


@dataclass(frozen=True)
class Queues:
    """Most shards that wait at one actor, the one that it works on included."""

    generator: int = 2
    judge: int = 2


@dataclass(frozen=True)
class Limits:
    """How long an actor may work on one shard before another takes its place. Seconds; None: as long as it takes."""

    generate_s: float | None = None
    judge_s: float | None = None


@dataclass
class _Member:
    """One actor of a pool, its place there, its shards, and since when it works on the first of them."""

    actor: Any
    place: int
    queued: int = 0
    since_s: float = 0.0
    replaced: int = 0

    def handed(self) -> None:
        if not self.queued:
            self.since_s = time.monotonic()
        self.queued += 1

    def answered(self) -> None:
        self.queued -= 1
        self.since_s = time.monotonic()


@dataclass
class _Flight:
    task: ShardTask
    member: _Member | None = None
    rollouts: ray.ObjectRef[Any] | None = None

    def landed(self) -> None:
        """The actor that worked on it has room for one more shard now."""
        if self.member is not None:
            self.member.answered()

    def done(self, span: Span) -> Span:
        """The same; the span with who worked in it."""
        self.landed()
        return span.model_copy(update={"worker": self.member.place if self.member is not None else None})


def stream(
    tasks: Sequence[ShardTask],
    generators: Sequence[Any],
    judges: Sequence[Any],
    on_generated: Callable[[Span], None] = lambda span: None,
    on_judged: Callable[[int], None] = lambda rows: None,
    queues: Queues | None = None,
    limits: Limits | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> StreamReport:
    """Run every task that is not on disk yet; returns when all are judged.

    Without generators the rollouts are read from disk; without judges they are only generated. `meanwhile` is called
    after every answer of an actor, and at least once in `LOOK_S`.

    Raises:
        SalusError: as raised in an actor, or one is late time and again.
    """
    limits, queues = limits or Limits(), queues or Queues()
    report = StreamReport()
    generating: dict[ray.ObjectRef[Any], _Flight] = {}
    judging: dict[ray.ObjectRef[Any], _Flight] = {}
    unjudged: deque[_Flight] = deque()
    waiting = deque(task for task in tasks if not task.done)
    if not generators:
        unjudged.extend(_Flight(task=task) for task in waiting)
        waiting.clear()
    generator_pool = [_Member(actor, place) for place, actor in enumerate(generators)]
    judge_pool = [_Member(actor, place) for place, actor in enumerate(judges)]
    limit = queues.judge * len(judge_pool) if judges else len(waiting)

    while waiting or generating or unjudged or judging:
        while unjudged and (member := _free(judge_pool, queues.judge)):
            flight = unjudged.popleft()
            member.handed()
            ref = member.actor.label.remote(flight.rollouts, flight.task.judgment)
            judging[ref] = _Flight(flight.task, member, flight.rollouts)
        while waiting and len(unjudged) < limit and (member := _free(generator_pool, queues.generator)):
            task = waiting.popleft()
            member.handed()
            rollouts, span = member.actor.generate.options(num_returns=2).remote(task.rollout)
            generating[span] = _Flight(task, member, rollouts)
        done, _ = ray.wait([*generating, *judging], num_returns=1, timeout=LOOK_S)
        meanwhile()
        _replace_late(generator_pool, limits.generate_s, "generator", "generate.shard_timeout_s")
        _replace_late(judge_pool, limits.judge_s, "judge", "judge.shard_timeout_s")
        if not done:
            continue
        (ready,) = done
        if ready in generating:
            flight = generating.pop(ready)
            span = flight.done(_got(ready, "generator", "generate"))
            report.generated.append(span)
            if judges:
                unjudged.append(flight)
            report.most_unjudged = max(report.most_unjudged, len(unjudged))
            on_generated(span)
        else:
            flight = judging.pop(ready)
            try:
                span = _got(ready, "judge", "judge")
            except ray.exceptions.ObjectLostError:
                if flight.rollouts is None:
                    raise
                # They were in the memory of a node that died, and are on disk.
                flight.landed()
                unjudged.append(_Flight(flight.task))
                continue
            report.judged.append(flight.done(span))
            on_judged(span.rows)
    return report


def _got(ref: ray.ObjectRef[Any], who: str, section: str) -> Any:
    """What an actor answered; a SalusError where Ray starts it no more, or has repeated its task often enough."""
    try:
        return ray.get(ref)
    except RayActorError as error:
        if error.actor_init_failed:
            raise SalusError(f"A {who} could not be started anew: {reason(error)}") from error
        raise SalusError(
            f"A {who} died each time it worked on one shard ({reason(error)}). For want of memory, lower"
            f" {section}.engine.max_num_seqs or {section}.engine.max_model_len; then give the same command again."
        ) from error


def _replace_late(pool: Iterable[_Member], limit_s: float | None, who: str, setting: str) -> None:
    """End actors that are late with their shard: Ray builds them anew and gives them their shards again."""
    now = time.monotonic()
    for member in pool:
        if limit_s is None or not member.queued or now - member.since_s <= limit_s:
            continue
        if member.replaced == REPLACEMENTS:
            raise SalusError(
                f"A {who} did not finish a shard within {limit_s:g} s, and neither did {REPLACEMENTS} in its place;"
                f" raise {setting}, or lower data.prompts_per_shard."
            )
        ray.kill(member.actor, no_restart=False)
        member.replaced += 1
        member.since_s = now


def _free(pool: list[_Member], queue: int) -> _Member | None:
    member = min(pool, key=lambda m: m.queued, default=None)
    return member if member is not None and member.queued < queue else None


def spread(
    actors: Sequence[Any],
    ask: Callable[[Any, Task], ray.ObjectRef[Any]],
    tasks: Sequence[Task],
    on_done: Callable[[], None],
) -> list[Span]:
    """Have every task done by whichever actor is free; returns who worked when.

    Args:
        ask: gives an actor a task; the answer is a span.

    Raises:
        SalusError: as raised in an actor.
    """
    spans: list[Span] = []
    free, waiting = list(enumerate(actors)), deque(tasks)
    working: dict[ray.ObjectRef[Any], tuple[int, Any]] = {}
    while waiting or working:
        while waiting and free:
            place, actor = free.pop()
            working[ask(actor, waiting.popleft())] = place, actor
        (ready,), _ = ray.wait(list(working), num_returns=1)
        place, actor = working.pop(ready)
        free.append((place, actor))
        spans.append(ray.get(ready).model_copy(update={"worker": place}))
        on_done()
    return spans
