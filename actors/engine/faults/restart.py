"""An engine that Ray builds anew is tried several times: memory of the dead one may be free only seconds later.

An actor whose `__init__` raises is never started again, whatever `max_restarts` says.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from typing import TypeVar

import ray

from actors.errors import SalusError, reason

logger = logging.getLogger(__name__)
T = TypeVar("T")
# Seconds between one try and the next: a minute in all.
PAUSES_S = (2.0, 4.0, 8.0, 16.0, 30.0)


def built_anew() -> bool:
    """Whether this process is an actor that Ray has started again, after its former process had ended."""
    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    return context.get_actor_id() is not None and bool(context.was_current_actor_reconstructed)


def again_where_rebuilt(
    build: Callable[[], T],
    rebuilt: Callable[[], bool] = built_anew,
    sleep: Callable[[float], None] = time.sleep,
    pauses_s: tuple[float, ...] = PAUSES_S,
) -> T:
    """What `build` makes. In an actor that was built anew, a build that fails is tried again.

    Raises:
        SalusError: the last try failed too.
        Exception: as `build` raises, where this is the actor's first process.
    """
    if not rebuilt():
        return build()
    for number, pause_s in enumerate(pauses_s, start=1):
        try:
            return build()
        except Exception as error:  # What a library raises for want of memory has no type in common.
            logger.warning("try %d of %d to build an engine anew failed: %s", number, len(pauses_s) + 1, reason(error))
        # Outside the handler: the error's traceback keeps what the failed try has built.
        gc.collect()
        sleep(pause_s)
    try:
        return build()
    except Exception as error:
        why = reason(error).rstrip(".")
        raise SalusError(
            f"An engine whose process had died could not be started again, {len(pauses_s) + 1} times in"
            f" {sum(pauses_s):.0f} s; the last time: {why}. Free memory on its device, then give the same command"
            " again."
        ) from error
