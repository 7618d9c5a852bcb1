"""The guard's model in an actor of its own: one for all replicas of an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress, find_actor
from actors.contract.records import PolicyRef
from actors.engine.vllm import VllmEngine
from actors.errors import own_error, reason
from actors.serve.guard.batches import BatchingGuard, Judge
from actors.serve.guard.config import GuardConfig
from actors.serve.guard.model import GuardUnavailable, JudgedExchange, Verdict, model_guard


class VllmGuard(BatchingGuard):
    """A guard that owns its vLLM engine."""

    def __init__(self, config: GuardConfig, weights: PolicyRef) -> None:
        def build() -> Judge:
            return model_guard(config, VllmEngine(config.engine, weights), weights).verdicts

        super().__init__(build, config.max_batch, config.timeout_s)

    async def ready(self) -> None:
        """Answers once the engine is up and warm: the first judgment compiles kernels."""
        await self.judge([JudgedExchange(request="", answer="")])


# Never asked again by Ray: who asked has a time limit of his own.
GuardActor = ray.remote(max_restarts=-1, max_task_retries=0)(VllmGuard)


class RemoteGuard:
    """A guard in an actor of its own, as an `AnswerGuard`."""

    def __init__(self, address: ActorAddress, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._actor: Any = None

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        try:
            self._actor = self._actor or find_actor(self._address)
            verdicts: list[Verdict] = await asyncio.wait_for(self._actor.judge.remote(list(exchanges)), self._timeout_s)
            return verdicts
        except (RayError, TimeoutError, ValueError) as error:
            # Looked for again: another one may have taken its place.
            self._actor = None
            said = own_error(error)
            raise GuardUnavailable(said.sentence if said is not None else reason(error)) from error
