"""The endpoint as the publisher sees it: it starts, stops, and takes one call on every replica.

Ray Serve is imported where it is used: its settings are in every recipe, which should be quick to read.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.contract.actor_address import ActorAddress, beside_me
from actors.contract.growth import boot_s
from actors.contract.records import PolicyRef
from actors.errors import SalusError, cause_in, reason
from actors.serve.address import serve_address
from actors.serve.config import SmokeConfig
from actors.serve.feedback.service import FeedbackService
from actors.serve.gateway.keys import ApiKey, new_key
from actors.serve.guard.service import GUARD_ACTOR, GuardService
from actors.serve.publisher.replica_calls import Replicas
from actors.serve.replica.app import app_name, deploy, deployment_name
from actors.serve.replica.options import FEEDBACK_ACTOR, AdapterOptions, LayerOptions
from actors.serve.shadow.config import ShadowLink

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig

PROBE = "salus-publisher"
ReplicaCall = Literal[
    "traffic", "state", "begin_trial", "answer_smoke", "watch", "begin_swap", "load_policy", "end_swap", "settle"
]
Argument = PolicyRef | SmokeConfig | float


class Endpoint(Protocol):
    """What the publisher needs of an endpoint."""

    def start(self, policy: PolicyRef, published: ActorAddress) -> None:
        """Bring it up with `policy`; returns when it has answered a chat request, or raises SalusError."""

    def everywhere(self, call: ReplicaCall, *arguments: Argument) -> list[Any]:
        """`call` on every living replica: its `ReplicaState`, or `ReplicaTraffic`. RayError where one raises."""

    def some(self, replicas: Sequence[str], call: ReplicaCall, *arguments: Argument) -> list[Any]:
        """The same on the living ones of these names."""

    def stop(self) -> None:
        """Take it down; harmless where it is not up."""


@dataclass(frozen=True)
class ServedAdapter:
    """One policy that is served as a LoRA adapter; `config`: what clients of this one are told, and its feedback."""

    model: str
    policy: PolicyRef
    rank: int
    config: PublisherConfig
    pages: ActorAddress | None = None


class ServeEndpoint:
    """The endpoint on Ray Serve and `ray.serve.llm`. Life: start -> everywhere* -> stop.

    An endpoint that another process started is found by its name: `everywhere` and `stop` need no start here.
    """

    def __init__(
        self,
        config: PublisherConfig,
        namespace: str,
        pages: ActorAddress | None = None,
        shadow: ShadowLink | None = None,
        app: str | None = None,
        feedback: FeedbackRunner | None = None,
        adapters: Sequence[ServedAdapter] = (),
    ) -> None:
        """`app` and `feedback`: its name and its feedback service where the endpoint has several applications.

        `adapters`: served in the place of the policy it is started with, each below its name.
        """
        self._config = config
        self._app = app or app_name(namespace)
        address = ActorAddress(actor=FEEDBACK_ACTOR, namespace=namespace)
        self._feedback: FeedbackRunner = feedback or FeedbackService(config.feedback, address)
        # One of its own for each application: it ends with it.
        guard = GUARD_ACTOR if app is None else f"{GUARD_ACTOR}-{app}"
        self._guard = GuardService(config.guard, ActorAddress(actor=guard, namespace=namespace))
        self._pages = pages
        self._shadow = shadow
        self._adapters = tuple(adapters)
        self._adapters_feedback = [
            FeedbackService(
                each.config.feedback, ActorAddress(actor=f"{FEEDBACK_ACTOR}-{each.model}", namespace=namespace)
            )
            for each in adapters
        ]
        self._replicas = Replicas(deployment_name(config), self._app, config.drain_timeout_s)

    def start(self, policy: PolicyRef, published: ActorAddress) -> None:
        limit_s = self._config.start_timeout_s + boot_s()
        deadline = time.monotonic() + limit_s
        start_serve(self._config)
        # By which the endpoint is asked whether it answers; no other process ever has it.
        token, key = new_key(PROBE, "client")
        layers = self.layers(deadline, () if self._config.gateway.open else (key,))
        adapters = self._adapter_options(layers)
        self._deploy(policy, published, layers, deadline, adapters, limit_s)
        for each in adapters:
            self._wait_for_answer(f"{self._config.url}/{each.model}/v1", each.model, token, deadline)
        if not adapters:
            self._wait_for_answer(f"{self._config.url}/v1", self._config.model_id, token, deadline)

    def layers(self, deadline: float, keys: tuple[ApiKey, ...] = ()) -> LayerOptions:
        """What is before each replica's app; brings up what they ask: the feedback service and the guard.

        Args:
            deadline: when they must be up, by `time.monotonic`.
            keys: the system's own.

        Raises:
            SalusError: one of them does not start.
        """
        return LayerOptions(
            gateway=self._config.gateway,
            feedback=self._config.feedback,
            feedback_writer=None if self._adapters else self._feedback.start(),
            guard=self._config.guard,
            guard_actor=self._guard.start(max(0.0, deadline - time.monotonic())),
            pages=self._pages,
            shadow=self._shadow,
            keys=keys,
            answers_of=self._config.model_id if self._config.router else None,
            scheme=self._config.scheme is not None,
        )

    def _adapter_options(self, layers: LayerOptions) -> tuple[AdapterOptions, ...]:
        """What is before each adapter: what is before all, but for its name, its feedback and its pages."""
        return tuple(
            AdapterOptions(
                model=each.model,
                version=each.policy.version,
                path=each.policy.path,
                rank=each.rank,
                layers=layers.model_copy(
                    update={
                        "feedback": each.config.feedback,
                        "feedback_writer": feedback.start(),
                        "pages": each.pages,
                        "answers_of": each.model,
                    }
                ),
            )
            for each, feedback in zip(self._adapters, self._adapters_feedback, strict=True)
        )

    def everywhere(self, call: ReplicaCall, *arguments: Argument) -> list[Any]:
        return self._replicas.everywhere(call, *arguments)

    def some(self, replicas: Sequence[str], call: ReplicaCall, *arguments: Argument) -> list[Any]:
        replies = self._replicas.everywhere("addressed", tuple(replicas), call, *arguments)
        return [reply for reply in replies if reply is not None]

    def stop(self) -> None:
        self._replicas.forget()
        if serve_address() is not None:
            take_down(self._app)
        self.stop_services()

    def stop_services(self) -> None:
        """End the guard and the feedback service; the replicas must have ended."""
        # After the replicas, whose last answers it judges.
        self._guard.stop()
        # Last: what replicas had to tell is kept.
        self._feedback.stop()
        for feedback in self._adapters_feedback:
            feedback.stop()

    def _deploy(
        self,
        policy: PolicyRef,
        published: ActorAddress,
        layers: LayerOptions,
        deadline: float,
        adapters: tuple[AdapterOptions, ...],
        limit_s: float,
    ) -> None:
        # In a worker that ends with the task: building the app imports vLLM and torch.
        task: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(deploy)
        placed = task.options(scheduling_strategy=beside_me())
        running = placed.remote(self._config, policy, published, layers, self._app, adapters)
        try:
            ray.get(running, timeout=max(0.0, deadline - time.monotonic()))
        except GetTimeoutError as error:
            ray.cancel(running, force=True)
            raise SalusError(
                f"The endpoint was not up after {limit_s:g} s ({self._replica_message()}); "
                "raise publish.start_timeout_s or free what it waits for."
            ) from error
        except RayError as error:
            raise SalusError(
                f"The endpoint could not start with policy {policy.version} at {policy.path}: "
                f"{self._replica_message() or reason(error)}"
            ) from error

    def _replica_message(self) -> str:
        """What Serve says about the app's unhealthy deployments, in one line; empty where it says nothing."""
        from ray import serve

        app = serve.status().applications.get(self._app)
        messages = [] if app is None else [deployment.message for deployment in app.deployments.values()]
        return " ".join(cause_in(message) for message in messages if message)

    def _wait_for_answer(self, base: str, model: str, token: str, deadline: float) -> None:
        question = {
            "model": model,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 1,
            "temperature": 0,
        }
        while True:
            left = deadline - time.monotonic()
            try:
                _fetch(f"{base}/models", None, token, left)
                _fetch(f"{base}/chat/completions", question, token, left)
                return
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                if isinstance(error, urllib.error.HTTPError) and error.headers.get("x-salus-guard") == "blocked":
                    # The policy answered, if badly.
                    return
                if left < 1:
                    raise SalusError(f"The endpoint at {base} came up but does not answer: {error}") from error
            time.sleep(0.2)


class FeedbackRunner(Protocol):
    """Starts and stops what keeps feedback; see `FeedbackService`."""

    def start(self) -> ActorAddress | None: ...

    def stop(self) -> None: ...


def start_serve(config: PublisherConfig) -> None:
    """Bring Ray Serve up at the endpoint's address; harmless where it is."""
    from ray import serve

    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": config.host, "port": config.port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )


def take_down(app: str) -> None:
    """End an application, and Serve itself where it was the last."""
    from ray import serve

    # Serve without an application is of no use to any run, whichever of several runs started it.
    if set(serve.status().applications) <= {app}:
        serve.shutdown()
    else:
        serve.delete(app)


def _fetch(url: str, body: dict[str, Any] | None, token: str, timeout_s: float) -> None:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=max(0.1, timeout_s)) as response:
        response.read()
