"""Work that does not fit into memory is done in halves, and in halves of those, before an error is raised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from actors.errors import SalusError

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_batches_that_fit(
    run: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], recover: Callable[[], None], name: str
) -> list[Result]:
    """`run(items)`, or the same in ever smaller parts where memory runs out; one result an item, in their order.

    Args:
        recover: called after each failure, to let go of what the failed run still held.
        name: of the items in the error, such as "prompts".

    Raises:
        SalusError: not even one item fits.
    """
    try:
        return run(items)
    except Exception as error:  # What a device raises has no type in common.
        if not out_of_memory(error):
            raise
        recover()
        if len(items) <= 1:
            raise SalusError(
                f"The engine ran out of memory over one of the {name} alone ({_first_line(error)}); lower"
                " engine.max_model_len or engine.max_num_seqs, or give the engine more memory."
            ) from error
    # Outside the handler: the error's traceback would keep the failed run's tensors alive.
    half = len(items) // 2
    logger.warning("out of memory over %d %s: going on with %d at once", len(items), name, len(items) - half)
    first = in_batches_that_fit(run, items[:half], recover, name)
    return first + in_batches_that_fit(run, items[half:], recover, name)


def out_of_memory(error: Exception) -> bool:
    """Whether this is a device's or the machine's way to say that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
