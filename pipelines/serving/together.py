"""Several policies at once: started one after the other, followed side by side, ended together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ray.exceptions import RayError

from actors.errors import SalusError
from pipelines.serving.named_policy import NamedPolicy

# A publication that is under way when the endpoint ends is not waited for: what it started is taken down with Ray.
_END_S = 5.0


class PoliciesTogether:
    """Life: start -> follow -> end. A thread for each, as a new application takes minutes to start."""

    def __init__(self, policies: Sequence[NamedPolicy], poll_s: float, say: Callable[[str], None]) -> None:
        self._policies = tuple(policies)
        self._poll_s = poll_s
        self._say = say
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> dict[str, str]:
        """Bring all up that can be: their versions by name.

        Raises:
            SalusError: none can.
        """
        versions = {policy.name: policy.start() for policy in self._policies}
        up = {name: version for name, version in versions.items() if version is not None}
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
