"""The published policy of an endpoint in an actor of its own."""

from __future__ import annotations

import ray

from actors.contract.records import PolicyRef


class PolicyRecord:
    """Holds one policy reference. Life: empty -> record(A) -> record(B) -> ..."""

    def __init__(self) -> None:
        self._policy: PolicyRef | None = None

    def published_policy(self) -> PolicyRef | None:
        """The published policy; None before the first record."""
        return self._policy

    def record(self, policy: PolicyRef) -> None:
        self._policy = policy


# Never restarted: an empty record would send a restarted replica back to the first policy without a word.
PolicyRecordActor = ray.remote(num_cpus=0, max_restarts=0)(PolicyRecord)
