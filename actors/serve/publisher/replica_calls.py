"""One call on every living replica of a Serve deployment, past deaths and restarts; never through a public route."""

from __future__ import annotations

import time
from typing import Any

from ray.exceptions import RayActorError

from actors.serve.replica.ray_llm import broadcast


class Replicas:
    """The replicas of one deployment, found by its name and its application's; for one thread."""

    def __init__(self, deployment: str, app: str, patience_s: float) -> None:
        """`patience_s`: how long replicas that died or are still starting are waited for."""
        self._deployment = deployment
        self._app = app
        self._patience_s = patience_s
        self._handle: Any = None

    def everywhere(self, call: str, *arguments: Any) -> list[Any]:
        """`call` on each, all at once: what they reply. RayError where one raises. All calls may be repeated."""
        # Ray's own broadcast goes through the deployment handle.
        from ray import serve

        if self._handle is None:
            self._handle = serve.get_deployment_handle(self._deployment, self._app)
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                replies = broadcast(self._handle, call, list(arguments))
            except (RayActorError, RuntimeError) as error:
                if time.monotonic() > deadline or not _will_pass(error):
                    raise
            else:
                # None lives where the only replica has crashed; Serve is starting it again.
                if replies or time.monotonic() > deadline:
                    return replies
            time.sleep(0.2)

    def forget(self) -> None:
        """The deployment is gone; one of the same name may come."""
        self._handle = None


def _will_pass(error: Exception) -> bool:
    """Whether a replica died meanwhile, which Serve soon no longer lists, or the handle is too young.

    Ray's broadcast makes the handle's router in this thread where it comes before the router's own, and that fails.
    """
    return isinstance(error, RayActorError) or "no running event loop" in str(error)
