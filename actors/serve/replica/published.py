"""The record: the one place that says which policy is published, asked by every replica of the endpoint.

Any named actor with a method `published_policy() -> PolicyRef | None` can be the record. `PolicyRecord` is the smallest
one. It is used when nothing else (such as a coordinator) plays that part.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol

import ray

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef, Record
from actors.files.records import find_record
from actors.files.shards import write_text
from actors.serve.replica.actor import PolicyRecordActor


class PublishedPolicy(Protocol):
    """What the publisher needs of the record: where replicas find it, and a way to record the published policy.

    The record's actor must be able to answer `published_policy` while the publisher works. A coordinator that
    holds the record and publishes from one of its methods therefore needs a concurrency group for it.
    """

    @property
    def address(self) -> ActorAddress: ...

    def record(self, policy: PolicyRef) -> None:
        """Make `policy` what `published_policy` answers from now on."""


class PolicyInActor:
    """The record in a small detached actor of its own, which lives as long as the (detached) Serve app."""

    def __init__(self, address: ActorAddress | None = None) -> None:
        self._address = address or ActorAddress()

    @property
    def address(self) -> ActorAddress:
        return self._address

    def record(self, policy: PolicyRef) -> None:
        record: Any = PolicyRecordActor.options(
            name=self._address.actor,
            namespace=self._address.namespace,
            lifetime="detached",
            get_if_exists=True,
        ).remote()
        ray.get(record.record.remote(policy))

    def close(self) -> None:
        """End the record's actor, if there is one."""
        try:
            ray.kill(ray.get_actor(self._address.actor, namespace=self._address.namespace))
        except ValueError:
            return


class Published(Record):
    """What a `PolicyOnDisk` writes: the policy, and the session it was published in."""

    namespace: str
    policy: PolicyRef


class PolicyOnDisk:
    """The record of an actor of its own: written and synced before a call returns, so a restarted one says the same."""

    def __init__(self, address: ActorAddress, path: Path) -> None:
        self._address = address
        self._path = path
        known = find_record(Published, path, "the published policy", "delete it and run the same command again")
        # Another session's endpoint is gone.
        here = known is not None and known.namespace == address.namespace
        self._policy: PolicyRef | None = known.policy if known is not None and here else None

    @property
    def address(self) -> ActorAddress:
        return self._address

    def record(self, policy: PolicyRef) -> None:
        write_text(Published(namespace=self._address.namespace, policy=policy).model_dump_json(), self._path)
        self._policy = policy

    def published(self) -> PolicyRef | None:
        return self._policy


async def ask_published(address: ActorAddress, timeout_s: float) -> PolicyRef | None:
    """The published policy, as the record at `address` says it.

    Errors: ValueError where no such actor lives, TimeoutError where it does not answer in time, RayActorError
    where it dies while answering.
    """
    record: Any = ray.get_actor(address.actor, namespace=address.namespace)
    answer: PolicyRef | None = await asyncio.wait_for(record.published_policy.remote(), timeout_s)
    return answer
