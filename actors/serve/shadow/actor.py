"""The shadow as a Ray actor beside the replicas, and a replica's way to it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError

from actors.contract.actor_address import ActorAddress, find_actor
from actors.contract.records import PolicyRef
from actors.engine.config import EngineConfig
from actors.engine.faults.death import end_process
from actors.engine.vllm import VllmEngine
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.redaction_process import RedactionProcess
from actors.serve.shadow.config import ShadowConfig
from actors.serve.shadow.records import LiveAnswer, Taken
from actors.serve.shadow.shadow import Shadow

# Where both share cores, live answers come first.
_NICE = 10
# One that cannot live, as for want of memory, must not take from the endpoint for ever by starting again.
_MOST_RESTARTS = 10


class VllmShadow(Shadow):
    """A shadow that owns its vLLM engine, and ends its process where that is beyond help: Ray starts another."""

    def __init__(
        self, engine: EngineConfig, challenger: PolicyRef, folder: Path, config: ShadowConfig, feedback: FeedbackConfig
    ) -> None:
        redaction = RedactionProcess(feedback)
        redaction.start()
        if engine.device == "cpu":
            os.nice(_NICE)
        super().__init__(
            VllmEngine(engine, challenger),
            challenger,
            folder,
            config,
            feedback,
            redaction,
            give_up=lambda: end_process("The shadow's engine failed time and again: the process ends."),
        )


# Handed the same answer again where it died: the last record of one id counts.
ShadowActor = ray.remote(max_restarts=_MOST_RESTARTS, max_task_retries=3)(VllmShadow)


class RemoteShadow:
    """A shadow in an actor of its own, looked up when there is something to hand over: it may come up later."""

    def __init__(self, address: ActorAddress) -> None:
        self._address = address
        self._actor: Any = None

    async def take(self, live: LiveAnswer) -> Taken:
        """As `Shadow.take`; raises what Ray raises where there is no shadow, ValueError before there was any."""
        actor = self._actor or await asyncio.to_thread(find_actor, self._address)
        self._actor = actor
        try:
            taken: Taken = await actor.take.remote(live)
        except RayActorError:
            # Another may bear its name by then.
            self._actor = None
            raise
        return taken
