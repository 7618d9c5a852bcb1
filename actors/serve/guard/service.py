"""The guard of an endpoint: brought up before the endpoint answers, ended after it."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from actors.contract.actor_address import ActorAddress, find_actor
from actors.contract.records import PolicyRef
from actors.errors import SalusError, own_error, reason
from actors.serve.guard.config import GuardConfig, guard_gpus

GUARD_ACTOR = "salus-guard"


class GuardService:
    """One guard at `address`, or none where the settings want none, or need no model. Life: start -> stop."""

    def __init__(self, config: GuardConfig | None, address: ActorAddress) -> None:
        self._config = config
        self._address = address

    def start(self, timeout_s: float) -> ActorAddress | None:
        """Bring the guard up and wait until it judges; None where no model judges.

        Raises:
            SalusError: its model does not load, or it was not up in time.
        """
        config = self._config
        if config is None or (folder := config.folder) is None:
            return None
        # Imported here: it needs what only an endpoint with a guard needs.
        from actors.serve.guard.actor import GuardActor

        guard: Any = GuardActor.options(
            name=self._address.actor,
            namespace=self._address.namespace,
            # As long as the endpoint, which outlives who started it.
            lifetime="detached",
            get_if_exists=True,
            num_cpus=config.cpus,
            num_gpus=guard_gpus(config),
            runtime_env={"env_vars": config.engine.environment()},
        ).remote(config, PolicyRef(version=f"guard-{folder.name}", path=str(folder)))
        try:
            ray.get(guard.ready.remote(), timeout=timeout_s)
        except GetTimeoutError as error:
            raise SalusError(
                f"The guard with the model {folder} was not up after {timeout_s:.0f} s; free CPUs or GPUs, or raise"
                " publish.start_timeout_s."
            ) from error
        except (RayActorError, RayTaskError) as error:
            if (said := own_error(error)) is not None:
                raise said from None
            raise SalusError(f"The guard with the model {folder} could not start: {reason(error)}") from error
        return self._address

    def stop(self) -> None:
        """End the guard; harmless where there is none."""
        try:
            ray.kill(find_actor(self._address))
        except ValueError:
            return
