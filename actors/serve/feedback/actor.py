"""The writer of a feedback folder in an actor of its own, and the way of replicas to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from actors.errors import SalusError, own_error
from actors.serve.feedback.records import CapturedAnswer, Feedback
from actors.serve.feedback.sink import KnownAnswer
from actors.serve.feedback.writer import FeedbackWriter

Kept = TypeVar("Kept")

# Built anew where it died, and asked again: every item has an id, and the last of the same one counts.
FeedbackWriterActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=3)(FeedbackWriter)


class RemoteSink:
    """A writer in an actor of its own, as a `FeedbackSink`."""

    def __init__(self, writer: Any, timeout_s: float) -> None:
        self._writer = writer
        self._timeout_s = timeout_s

    async def captured(self, answer: CapturedAnswer) -> None:
        await self._in_time(self._writer.captured.remote(answer))

    async def feedback(self, item: Feedback) -> None:
        await self._in_time(self._writer.feedback.remote(item))

    async def known(self, answer_id: str) -> KnownAnswer | None:
        found: KnownAnswer | None = await self._in_time(self._writer.known.remote(answer_id))
        return found

    async def _in_time(self, answer: Awaitable[Kept]) -> Kept:
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except (RayError, TimeoutError) as error:
            # The writer's own words, without the traceback that Ray adds.
            if (said := own_error(error)) is not None:
                raise said from None
            raise SalusError(
                f"The feedback writer does not answer ({type(error).__name__}); see whether its actor is alive."
            ) from error
