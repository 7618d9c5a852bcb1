"""Keeps one replica's engine at the right policy: the swap itself, and the way back to what the record says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ray.exceptions import RayActorError

from actors.contract.records import PolicyRef, Record
from actors.engine.model_files import engine_folder
from actors.errors import SalusError
from actors.serve.replica.pause import Pause

logger = logging.getLogger("ray.serve")

Replied = TypeVar("Replied")


class SwappableEngine(Protocol):
    """What a swap needs of an engine; `ray.serve.llm`'s LLMServer has all four."""

    async def pause(self, **options: Any) -> None: ...

    async def resume(self) -> None: ...

    async def collective_rpc(self, method: str, *, kwargs: dict[str, Any]) -> list[Any]: ...

    async def reset_prefix_cache(self) -> None: ...


class ReplicaState(Record):
    """What a replica serves: None while its weights are in doubt (a load has begun and not ended well)."""

    policy: PolicyRef | None
    # Clients' questions wait.
    paused: bool
    # Serve's name of the replica.
    replica: str = ""


class EngineSwap:
    """Swaps policies under a running engine.

    Life: adopt -> ([begin_trial -> load_policy -> try_out ->] begin_swap -> load_policy -> end_swap -> settle)*

    The record's word is the truth, and `follow` goes there. For `hold_s` after a publisher's last call the
    swap does not follow, for then it runs ahead of the record on purpose. If the publisher dies half-way, the
    hold runs out and the next `follow` sets it right and resumes. Every call may be repeated.
    """

    def __init__(
        self,
        engine: SwappableEngine,
        ask: Callable[[], Awaitable[PolicyRef]],
        *,
        drain_timeout_s: float,
        hold_s: float,
        pause: Pause | None = None,
        replica: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pause`: before the engine, for clients' questions; `replica`: the name it goes by."""
        self._engine = engine
        self._ask = ask
        self._drain_timeout_s = drain_timeout_s
        self._hold_s = hold_s
        self._pause = pause or Pause()
        self._replica = replica
        self._monotonic = monotonic
        self._policy: PolicyRef | None = None
        # Of the policy that was loaded last, also while the next one is: what is on its way out is that one's.
        self._version = "none"
        self._paused = False
        self._held_until = float("-inf")
        # One swap at a time: a publisher's way back must not overtake its way forth.
        self._swapping = asyncio.Lock()

    @property
    def state(self) -> ReplicaState:
        return ReplicaState(policy=self._policy, paused=self._paused or self._pause.active, replica=self._replica)

    @property
    def version(self) -> str:
        """Of the policy whose answers begin now.

        A swap begins when no answer is being made, and takes longer than the event loop needs to send what was made.
        So the first part of an answer goes out under the version that made it.
        """
        return self._version

    @property
    def ready(self) -> bool:
        """Whether a request would be answered at once."""
        return self._policy is not None and not self._paused and not self._pause.active

    def adopt(self, policy: PolicyRef) -> None:
        """Note that the engine has been started with `policy`."""
        self._policy, self._version = policy, policy.version

    async def begin_trial(self) -> ReplicaState:
        """Pause as `begin_swap` does, with new questions outside the engine, so that it can be asked others meanwhile.

        A client that does not read its answer is inside until it goes or the drain's time is up.
        """
        async with self._swapping:
            self._hold()
            self._pause.begin()
            try:
                # Of a swap that was left half-way, questions wait in the engine: they are answered first.
                await self._run()
                await asyncio.wait_for(self._pause.drained(), self._drain_timeout_s)
                await self._drain()
            except TimeoutError as error:
                self._pause.end()
                raise self._not_drained() from error
            except SalusError:
                self._pause.end()
                raise
            return self.state

    async def try_out(self, ask: Callable[[], Awaitable[Replied]]) -> Replied:
        """What `ask` gets from the engine while no client's question reaches it; between `begin_trial` and `end_swap`.

        Errors: SalusError where that is over, as after the end of the hold.
        """
        async with self._swapping:
            self._hold()
            if self._policy is None or not self._pause.active:
                raise SalusError("the replica has left its trial; publish again")
            await self._run()
            try:
                return await ask()
            finally:
                self._hold()

    def keep_hold(self) -> ReplicaState:
        """The state; a hold that has not ended yet lasts as from now."""
        if self._monotonic() < self._held_until:
            self._hold()
        return self.state

    async def begin_swap(self) -> ReplicaState:
        """Let running answers end, hold back new requests; they wait, none is refused."""
        async with self._swapping:
            self._hold()
            await self._drain()
            return self.state

    async def load_policy(self, policy: PolicyRef) -> ReplicaState:
        """Load `policy` into the paused engine.

        Errors: whatever the engine raises for weights that do not fit; the policy is then in doubt (None).
        """
        async with self._swapping:
            self._hold()
            await self._load(policy)
            return self.state

    async def end_swap(self) -> ReplicaState:
        """Serve again, unless the weights are in doubt; the hold goes on."""
        async with self._swapping:
            self._hold()
            await self._resume()
            return self.state

    async def settle(self) -> ReplicaState:
        """End the hold and go to what the record says."""
        self._held_until = float("-inf")
        await self.follow()
        return self.state

    async def follow(self) -> None:
        """Go to what the record says, unless a publisher is at work here; a silent record changes nothing."""
        if self._swapping.locked() or self._monotonic() < self._held_until:
            return
        try:
            published = await self._ask()
        except (ValueError, TimeoutError, RayActorError) as error:
            # An endpoint that answers must not stop because the record does not say what it should answer with.
            logger.warning("The record does not answer: %s", error)
            return
        async with self._swapping:
            if self._monotonic() < self._held_until:
                return
            await self._load(published)
            await self._resume()

    def _hold(self) -> None:
        self._held_until = self._monotonic() + self._hold_s

    async def _drain(self) -> None:
        if self._paused:
            return
        try:
            await asyncio.wait_for(self._engine.pause(mode="wait"), self._drain_timeout_s)
        except TimeoutError as error:
            await self._engine.resume()
            raise self._not_drained() from error
        self._paused = True

    def _not_drained(self) -> SalusError:
        return SalusError(
            f"running answers did not end within {self._drain_timeout_s:g} s; raise publish.drain_timeout_s"
        )

    async def _load(self, policy: PolicyRef) -> None:
        if self._policy == policy:
            return
        logger.info("Replica goes from %s to %s.", self._policy, policy)
        await self._drain()
        self._policy = None
        await self._engine.collective_rpc(
            "reload_weights", kwargs={"weights_path": str(engine_folder(Path(policy.path)))}
        )
        await self._engine.reset_prefix_cache()
        self.adopt(policy)

    async def _run(self) -> None:
        if self._paused and self._policy is not None:
            await self._engine.resume()
            self._paused = False

    async def _resume(self) -> None:
        await self._run()
        if self._policy is not None:
            self._pause.end()
