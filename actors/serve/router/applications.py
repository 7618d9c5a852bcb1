"""One model's applications: each generation with a path, a name and a record of its own, feedback in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.contract.actor_address import ActorAddress
from actors.serve.feedback.service import FeedbackService
from actors.serve.publisher.endpoint import ServeEndpoint
from actors.serve.replica.app import app_name
from actors.serve.replica.options import FEEDBACK_ACTOR
from actors.serve.replica.published import PolicyInActor
from actors.serve.router.routes import Route, application_prefix

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig
    from actors.serve.publisher.publisher import Publisher


@dataclass(frozen=True)
class Application:
    """One generation: the settings it was started with, the way to it, and who starts, swaps and ends it."""

    config: PublisherConfig
    route: Route
    publisher: Publisher


def application_name(namespace: str, model: str, generation: int) -> str:
    """The name by which Serve knows an application."""
    return app_name(f"{namespace}-{model}-{generation}")


class Applications:
    """Makes a model's applications on Ray Serve. Life: make* -> close."""

    def __init__(self, namespace: str, model: str, config: PublisherConfig, pages: ActorAddress | None) -> None:
        """`pages`: the actor behind the pages, where this model's applications have them."""
        self._namespace = namespace
        self._model = model
        self._route = config.route
        self._pages = pages
        # It outlives each of the applications that ask it.
        self._feedback = _LastingFeedback(
            FeedbackService(config.feedback, ActorAddress(actor=f"{FEEDBACK_ACTOR}-{model}", namespace=namespace))
        )

    def make(self, config: PublisherConfig, generation: int) -> Application:
        """The next application, not started yet."""
        from actors.serve.publisher.publisher import Publisher

        prefix = application_prefix(self._route, self._model, generation)
        route = Route(model=self._model, prefix=prefix, generation=generation, pages=self._pages is not None)
        # A path that settings may not name.
        placed = config.model_copy(update={"route": prefix, "model_id": self._model, "router": True})
        name = application_name(self._namespace, self._model, generation)
        published = PolicyInActor(
            ActorAddress(actor=f"{ActorAddress().actor}-{self._model}-{generation}", namespace=self._namespace)
        )
        endpoint = ServeEndpoint(placed, self._namespace, self._pages, app=name, feedback=self._feedback)
        return Application(config, route, Publisher(placed, published, endpoint))

    def close(self) -> None:
        """End what the applications had in common; they must have ended."""
        self._feedback.end()


class _LastingFeedback:
    """A feedback service that does not end with the application that brought it up."""

    def __init__(self, service: FeedbackService) -> None:
        self._service = service

    def start(self) -> ActorAddress | None:
        return self._service.start()

    def stop(self) -> None:
        """Nothing: the next application asks it too."""

    def end(self) -> None:
        self._service.stop()
