"""The policies behind a router: each follows a registry or is a version for good; all start and end together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from ray.exceptions import RayError

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from pipelines.registry.store import Registry
from pipelines.serving.follower import Follower, LivePublisher

# A publication that is under way when the endpoint ends is not waited for: what it started is taken down with Ray.
_END_S = 5.0


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
                folder, _ = self._registry.servable(entry)
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


class PoliciesTogether:
    """Life: start -> follow -> end. A thread for each, as a new application takes minutes to start."""

    def __init__(self, policies: Sequence[NamedPolicy], poll_s: float, say: Callable[[str], None]) -> None:
        self._policies = tuple(policies)
        self._poll_s = poll_s
        self._say = say
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, beside: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """Bring all up that can be: their versions by name, behind those that are up `beside` them.

        Raises:
            SalusError: none can, and none is.
        """
        versions = {policy.name: policy.start() for policy in self._policies}
        up = dict(beside) | {name: version for name, version in versions.items() if version is not None}
        if not up:
            raise SalusError("None of the policies is up; what kept each is said above.")
        return up

    def follow(self) -> None:
        """Let each follow its registry from now on."""
        self._threads = [threading.Thread(target=self._follow, args=(each,), daemon=True) for each in self._policies]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Take all down."""
        self._over.set()
        for thread in self._threads:
            thread.join(_END_S)
        for policy in self._policies:
            policy.end()

    def _follow(self, policy: NamedPolicy) -> None:
        while not self._over.wait(self._poll_s):
            try:
                policy.step()
            except (SalusError, RayError, OSError, RuntimeError) as error:
                if not self._over.is_set():
                    self._say(f"{policy.name}: {error}")
