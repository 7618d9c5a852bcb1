"""The ranks of one training run acting as one: they fail together, and rank 0's word goes for all.

Without torch.distributed there is one rank, and everything here does nothing. Torch is imported where it is needed:
what only launches workers comes up in half the time without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from actors.errors import SalusError

T = TypeVar("T")


def world_size() -> int:
    """How many ranks take part."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This rank's number; 0 writes."""
    import torch.distributed as dist

    return dist.get_rank() if world_size() > 1 else 0


def from_all(value: T) -> list[T]:
    """Every rank's value, by rank; a rendezvous."""
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return [each for each in values if each is not None]


def from_rank_zero(value: T) -> T:
    """Rank 0's value, on every rank; a rendezvous."""
    import torch.distributed as dist

    box = [value]
    if world_size() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def all_or_none() -> Iterator[None]:
    """Run a block on every rank; where any rank raised SalusError, raise the first one on all of them.

    Without this the other ranks would wait for the failed one in their next collective. The block itself must
    hold no collective that a failing rank would miss.
    """
    fault: SalusError | None = None
    try:
        yield
    except SalusError as error:
        fault = error
    for told in from_all((type(fault), fault.sentence) if fault is not None else None):
        if told is not None:
            kind, sentence = told
            raise kind(sentence) from fault
