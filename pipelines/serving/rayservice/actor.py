"""The actor beside a Serve application: it says which policy is published, and follows the registry.

Serve starts and scales the replicas. Every replica asks this actor when it starts and at every health check. A
promotion or rollback in the registry goes live in place, with the trial that the settings ask for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel
from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress, beside_me, find_actor
from actors.contract.records import PolicyRef
from actors.engine.model_folder import check_model_folder
from actors.errors import SalusError
from actors.serve.config import check_lengths
from actors.serve.publisher.endpoint import ServeEndpoint
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.options import LayerOptions
from pipelines.registry.store import Registry
from pipelines.serving.follower import Follower, LivePublisher
from pipelines.serving.rayservice.settings import ServiceSettings

logger = logging.getLogger(__name__)

# Between the end of an older follower and the start of its successor.
_END_S = 30.0


class PolicyHere:
    """The published policy, held by the actor that this is in."""

    def __init__(self, address: ActorAddress) -> None:
        self._address = address
        self.policy: PolicyRef | None = None

    @property
    def address(self) -> ActorAddress:
        return self._address

    def record(self, policy: PolicyRef) -> None:
        self.policy = policy


class DeployedPublisher(LivePublisher):
    """The publisher of an application that Serve itself deploys: to start is to say what replicas are to load."""

    def __init__(self, settings: ServiceSettings, published: PolicyHere, endpoint: ServeEndpoint) -> None:
        self._config = settings.publish
        self._published = published
        self._publisher = Publisher(settings.publish, published, endpoint)

    @property
    def url(self) -> str:
        return self._publisher.url

    def start(self, policy: PolicyRef) -> BaseModel:
        check_model_folder(Path(policy.path))
        check_lengths(self._config, Path(policy.path))
        self._published.record(policy)
        self._publisher.attach(policy)
        return policy

    def publish(
        self, policy: PolicyRef, cycle: int, *, trial: bool = True, wanted: Callable[[], bool] = lambda: True
    ) -> BaseModel:
        return self._publisher.publish(policy, cycle, trial=trial, wanted=wanted)


class RegistryFollower:
    """Life: made -> begin -> follows until its application is gone, and ends itself. Replicas may ask at any time.

    Where it died, Ray makes it anew. It then goes on from what its application serves, so that a policy promoted
    meanwhile is tried as any other.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._published = PolicyHere(settings.address)
        self._endpoint = ServeEndpoint(settings.publish, settings.address.namespace, app=settings.application)
        publisher = DeployedPublisher(settings, self._published, self._endpoint)
        registry = Registry(settings.registry)
        self._follower = Follower(registry, publisher, logger.info, registry.clock, settings.publish.scheme)
        self._beginning = threading.Lock()
        self._begun: tuple[PolicyRef, LayerOptions] | None = None
        # Nothing here may raise: an actor whose second start fails is never made again.
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def begin(self) -> tuple[PolicyRef, LayerOptions]:
        """The policy to start with, and what is before each replica.

        Raises:
            SalusError: nothing is current, its weights changed or do not fit, or the guard does not start.
        """
        with self._beginning:
            if self._begun is None:
                self._begun = self._begin()
            return self._begun

    def published_policy(self) -> PolicyRef:
        """What replicas serve.

        Raises:
            TimeoutError: it is not known yet; replicas then keep what they serve.
        """
        if self._published.policy is None:
            raise TimeoutError("the published policy is not known yet")
        return self._published.policy

    def _begin(self) -> tuple[PolicyRef, LayerOptions]:
        if self._status() != "RUNNING" or not self._follower.resume():
            self._follower.start(None)
        layers = self._endpoint.layers(time.monotonic() + self._settings.publish.start_timeout_s)
        policy = self._published.policy
        if policy is None:
            raise SalusError(f"The registry {self._settings.registry} has no policy that could be served.")
        return policy, layers

    def _follow(self) -> None:
        seen = False
        while True:
            time.sleep(self._settings.poll_s)
            try:
                status = self._status()
                if status == "RUNNING":
                    # Begun already, unless this actor was made anew. Not before: replicas that start take the recorded
                    # policy, and none could be swapped.
                    self.begin()
                    self._follower.step()
                if seen and status is None:
                    break
                seen = seen or status is not None
            except (SalusError, RayError, OSError, RuntimeError) as error:
                logger.warning("The registry was not followed: %s", error)
        self._follower.end()
        self._endpoint.stop_services()
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)

    def _status(self) -> str | None:
        """What Serve says of the application; None where it has none of this name."""
        from ray import serve

        known = serve.status().applications.get(self._settings.application)
        return None if known is None else known.status.value


RegistryFollowerActor = ray.remote(num_cpus=0, max_restarts=-1)(RegistryFollower)


def start_follower(settings: ServiceSettings) -> Any:
    """The follower of this application, made anew: an older one has the settings of an older configuration.

    Raises:
        SalusError: an older one does not end.
    """
    address = settings.address
    deadline = time.monotonic() + _END_S
    while True:
        try:
            ray.kill(find_actor(address), no_restart=True)
        except ValueError:
            break
        if time.monotonic() > deadline:
            raise SalusError(f"The follower of {settings.application} does not end; deploy it again.")
        time.sleep(0.2)
    follower: Any = RegistryFollowerActor.options(
        name=address.actor,
        namespace=address.namespace,
        lifetime="detached",
        # Replicas that start together all ask, also while the registry is read.
        max_concurrency=32,
        # With the controller of Serve, on the head; a worker node must be free to go.
        scheduling_strategy=beside_me(),
    )
    return follower.remote(settings)
