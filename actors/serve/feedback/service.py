"""The service that keeps an endpoint's feedback: brought up with the endpoint, ended after it."""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.contract.actor_address import ActorAddress, find_actor
from actors.errors import SalusError, own_error, reason
from actors.serve.feedback.config import FeedbackConfig

_END_S = 30.0


class FeedbackService:
    """One feedback writer at `address`, or none where the settings name no folder. Life: start -> stop."""

    def __init__(self, config: FeedbackConfig, address: ActorAddress) -> None:
        self._config = config
        self._address = address

    def start(self) -> ActorAddress | None:
        """Bring the writer up; None where no feedback is taken.

        Raises:
            SalusError: its folder cannot be used, or is another's.
        """
        if self._config.folder is None:
            return None
        # Imported here: it needs what only an endpoint that takes feedback needs.
        from actors.serve.feedback.actor import FeedbackWriterActor

        writer: Any = FeedbackWriterActor.options(
            name=self._address.actor,
            namespace=self._address.namespace,
            # As long as the endpoint, which outlives who started it.
            lifetime="detached",
            get_if_exists=True,
        ).remote(self._config.folder, self._config)
        try:
            ray.get(writer.known.remote(""))
        except RayTaskError as error:
            if (said := own_error(error)) is not None:
                raise said from None
            raise
        except RayActorError as error:
            ray.kill(writer)
            why = reason(error).rstrip(".")
            raise SalusError(
                f"Feedback cannot be kept in {self._config.folder}: {why}; name another feedback.folder."
            ) from None
        return self._address

    def stop(self) -> None:
        """Let the writer end what it is at, and end it; harmless where there is none."""
        try:
            writer = find_actor(self._address)
        except ValueError:
            return
        # What it acknowledged is on disk already.
        with contextlib.suppress(GetTimeoutError, RayActorError, RayTaskError):
            ray.get(writer.close.remote(), timeout=_END_S)
        ray.kill(writer)
