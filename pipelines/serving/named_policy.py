"""One of the policies behind a router: the current one of a registry, or a version for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from pipelines.registry.store import Registry
from pipelines.serving.follower import Follower, LivePublisher


class NamedPublisher(LivePublisher, Protocol):
    """What a named policy needs of its publisher; see `actors.serve.router.publisher`."""

    def served_version(self) -> str: ...

    def stop(self) -> None: ...


class NamedPolicy:
    """Life: start -> step* -> end. What fails here is told, and no other policy's business.

    One that could not start is tried again when its registry changes; one of a fixed version never changes.
    """

    def __init__(
        self,
        name: str,
        registry: Registry,
        publisher: NamedPublisher,
        say: Callable[[str], None],
        fixed: str | None = None,
        first: str | None = None,
    ) -> None:
        """`fixed`: this version for good. `first`: this one until the registry changes."""
        self.name = name
        self._registry = registry
        self._publisher = publisher
        self._tell = say
        self._fixed = fixed
        self._first = first
        self._follower = Follower(registry, publisher, self._say, registry.clock)
        self._up = False
        # How many changes of the registry were seen when it last failed to start.
        self._failed_at = 0

    def start(self) -> str | None:
        """Bring it up; its version, or None where that failed, which has been told."""
        try:
            return self._started(self._first)
        except SalusError as error:
            self._say(f"it is not up: {error.sentence}")
            self._failed_at = self._changes()
            return None

    def step(self) -> None:
        """Carry out what changed in its registry since the last look."""
        if self._fixed is not None:
            return
        if self._up:
            self._follower.step()
        elif self._changes() != self._failed_at:
            # Whatever becomes current now; the one that was asked for is of the past.
            self._first = None
            version = self.start()
            if version is not None:
                self._say(f"{version} is live")

    def end(self) -> None:
        """Take it down."""
        if self._fixed is None:
            self._follower.end()
        self._publisher.stop()

    def _started(self, version: str | None) -> str:
        if self._fixed is None:
            self._follower.start(version)
        else:
            with self._registry.audit.entry("start", self._fixed, None, "as told", self._publisher.url) as deed:
                entry = self._registry.find(self._fixed)
                folder, _ = self._registry.intact(entry)
                self._publisher.start(PolicyRef(version=entry.version, path=str(folder)))
                deed.done(entry.version, None)
        self._up = True
        return self._publisher.served_version()

    def _say(self, line: str) -> None:
        self._tell(f"{self.name}: {line}")

    def _changes(self) -> int:
        """How often the registry has changed; as at the last look where it cannot be read."""
        try:
            return len(self._registry.history.changes())
        except SalusError:
            return self._failed_at
