"""The publisher of a model behind a router: in place where a policy fits, else in a second application."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.contract.publication import Publication, not_published
from actors.contract.records import PolicyRef
from actors.engine.model_folder import check_model_folder, shape_difference
from actors.errors import SalusError, reason
from actors.serve.config import PublisherConfig
from actors.serve.router.applications import Application, Applications
from actors.serve.router.endpoint import Router, RouterCall, ServeRouter
from actors.serve.router.fits import check_room
from actors.serve.router.lanes import RouterState
from actors.serve.router.routes import Route

logger = logging.getLogger(__name__)

# The settings a policy's engine needs; asked at every publication.
Fit = Callable[[PolicyRef], PublisherConfig]
# Refuses an application (settings, version) that does not fit beside another (version).
RoomCheck = Callable[[PublisherConfig, str, str], None]


class Maker(Protocol):
    """Makes a model's applications; see `Applications`."""

    def make(self, config: PublisherConfig, generation: int) -> Application: ...

    def close(self) -> None: ...


class RoutedPublisher:
    """Publishes one model's policies behind a router. Life: start -> publish* -> stop.

    Where weights and settings are of the shape that is served, the present application's publisher swaps in place.
    Else a second application is started with the new policy. Once it has answered, all router replicas go there phase
    by phase:

    - (1) The route table knows that the model moves.
    - (2) All hold its requests and let running ones end.
    - (3) All point to the new application, (4) the table records it, (5) all release, (6) all settle with it.

    Then the old application ends. So no request is refused, and no answer of the old follows one of the new. What goes
    wrong before (4) leaves the old application, and the new one is taken down. What dies converges as with `Publisher`:
    a router replica asks the route table when it starts and at every health check.

    Calls block. Not for two threads at once.
    """

    def __init__(
        self,
        model: str,
        url: str,
        router: Router,
        applications: Maker,
        fit: Fit,
        check_room: RoomCheck,
        placing: AbstractContextManager[object] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`placing`: held while room is looked for and taken, in common with other models' publishers."""
        self._model = model
        self._url = url
        self._router = router
        self._applications = applications
        self._fit = fit
        self._check_room = check_room
        self._placing: AbstractContextManager[object] = placing if placing is not None else threading.Lock()
        self._clock = clock
        self._now: Application | None = None
        self._generation = 0
        self._live: PolicyRef | None = None

    @property
    def url(self) -> str:
        """The base address of the endpoint, and which of its models this is."""
        return f"{self._url} (model {self._model})"

    def start(self, policy: PolicyRef) -> Publication:
        """Start the model's first application; it is asked through the router once it has answered.

        Errors: SalusError for a bad folder, too few CPUs or GPUs, an engine that cannot start.
        """
        with self._placing:
            application = self._next(self._fit(policy))
            publication = application.publisher.start(policy)
        self._now = application
        self._router.record(application.route)
        self._tell("settle", application.route)
        self._live = policy
        return publication

    def publish(
        self, policy: PolicyRef, cycle: int, *, trial: bool = True, wanted: Callable[[], bool] = lambda: True
    ) -> Publication:
        """Put `policy` live; arguments and errors as of `Publisher.publish`.

        In a second application it is asked the smoke prompts before any client is led there; no canary is made of it.
        """
        publication = self._replace(policy, cycle, trial, wanted)
        self._live = policy
        return publication

    def served_version(self) -> str:
        """The version every replica of the present application reports; see `Publisher`."""
        return self._present()[0].publisher.served_version()

    def stop(self) -> None:
        """Take the model down; harmless where it is not up."""
        if self._now is not None:
            self._router.forget(self._model)
            self._tell("settle", self._now.route)
            self._now.publisher.stop()
        self._now = self._live = None
        self._applications.close()

    def _present(self) -> tuple[Application, PolicyRef]:
        """The application that answers, and its policy."""
        if self._now is None or self._live is None:
            raise SalusError(f"The model {self._model} is not up; call start first.")
        return self._now, self._live

    def _next(self, config: PublisherConfig) -> Application:
        self._generation += 1
        return self._applications.make(config, self._generation)

    def _replace(self, policy: PolicyRef, cycle: int, trial: bool, wanted: Callable[[], bool]) -> Publication:
        present, served = self._present()
        check_model_folder(Path(policy.path))
        config = self._fit(policy)
        if config == present.config and shape_difference(served, policy) is None:
            return present.publisher.publish(policy, cycle, trial=trial, wanted=wanted)
        return self._take_over(present, served, policy, config, cycle, trial)

    def _take_over(
        self,
        present: Application,
        served: PolicyRef,
        policy: PolicyRef,
        config: PublisherConfig,
        cycle: int,
        trial: bool,
    ) -> Publication:
        began_at = self._time()
        with self._placing:
            self._check_room(config, policy.version, served.version)
            following = self._next(config)
            try:
                following.publisher.start(policy)
            except SalusError as error:
                raise SalusError(not_published(policy, served, error)) from error
        tried_from = time.monotonic()
        try:
            tried = following.publisher.try_smoke(served.version) if trial else None
        except SalusError:
            self._end(following)
            raise
        began = time.monotonic()
        try:
            self._move(present.route, following.route)
        except (RayError, SalusError) as error:
            self._end(following)
            raise SalusError(not_published(policy, served, error)) from error
        self._now = following
        swap_s = time.monotonic() - began
        self._end(present)
        return Publication(
            version=policy.version,
            path=policy.path,
            cycle=cycle,
            published_at=self._time(),
            began_at=began_at,
            swap_s=round(swap_s, 4),
            replicas=config.first_replicas,
            previous=served.version,
            trial=tried,
            trial_s=round(began - tried_from, 4) if tried is not None else None,
        )

    def _move(self, here: Route, there: Route) -> None:
        """Phases 1 to 6."""
        try:
            self._router.move(self._model)
            _check_held(self._router.everywhere("hold", here), self._model)
            _check_pointed(self._router.everywhere("point", there), there)
            self._router.record(there)
        except (RayError, SalusError):
            try:
                # The route table first, or a replica that starts now would go on holding.
                self._router.record(here)
            finally:
                self._tell("point", here)
                self._settle(here)
            raise
        self._settle(there)

    def _settle(self, route: Route) -> None:
        self._tell("release", route)
        self._tell("settle", route)

    def _tell(self, call: RouterCall, route: Route) -> None:
        # Not fatal: the route table has spoken; a router that was not reached goes there when its hold ends.
        try:
            self._router.everywhere(call, route)
        except RayError as error:
            logger.warning("A router did not %s: %s", call, reason(error))

    def _end(self, application: Application) -> None:
        # Not fatal: no request is led there; it ends with the endpoint at the latest.
        try:
            application.publisher.stop()
        except (RayError, RuntimeError, TimeoutError) as error:
            logger.warning("The application at %s did not end: %s", application.route.prefix, reason(error))

    def _time(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")


def _check_held(states: list[RouterState], model: str) -> None:
    if not states:
        raise SalusError("no router is alive")
    if any(model not in state.held for state in states):
        raise SalusError("not every router holds the model's requests")


def _check_pointed(states: list[RouterState], there: Route) -> None:
    if not states or any(there not in state.routes for state in states):
        raise SalusError("not every router leads to the new application")


def routed_publisher(
    config: PublisherConfig,
    namespace: str,
    fit: Fit | None = None,
    pages: ActorAddress | None = None,
    placing: AbstractContextManager[object] | None = None,
) -> RoutedPublisher:
    """The publisher of the model `config.model_id`, behind the router that `start_router` brought up.

    Args:
        config: the endpoint, and what the model's engines need.
        namespace: the router's.
        fit: what one policy's engine needs; None: what the model's engines need.
        pages: the actor behind the pages, where this model has them.
        placing: held while room is looked for and taken, in common with other models' publishers.
    """
    return RoutedPublisher(
        config.model_id,
        config.url,
        ServeRouter(config, namespace),
        Applications(namespace, config.model_id, config, pages),
        fit or (lambda policy: config),
        check_room,
        placing,
    )
