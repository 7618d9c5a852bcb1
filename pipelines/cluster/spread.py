"""Tasks spread over a pool of actors: each actor gets its next one when it is done with the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray

from actors.contract.span import Span

Task = TypeVar("Task")


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
