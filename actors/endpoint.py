"""The endpoint as the publisher sees it: it starts, stops, and takes one call on every replica.

Ray Serve is imported where it is used: its settings stand in every recipe, which should be quick to read.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Literal, Protocol

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from actors.desks import FEEDBACK_ACTOR, FrontOptions
from actors.errors import SalusError
from actors.faults import last_line, reason
from actors.feedback_office import FeedbackOffice
from actors.gateway.keys import new_key
from actors.placement import beside_me
from actors.policy_app import app_name, deploy, deployment_name
from actors.policy_desk import DeskAddress
from actors.records import PolicyRef
from actors.serve_address import serve_address
from actors.serve_guard.office import GUARD_ACTOR, GuardOffice

if TYPE_CHECKING:
    from actors.publisher import PublisherConfig

PROBE = "salus-publisher"
ReplicaCall = Literal["traffic", "state", "begin_swap", "load_policy", "end_swap", "settle"]


class Endpoint(Protocol):
    """What the publisher needs of an endpoint."""

    def start(self, policy: PolicyRef, desk: DeskAddress) -> None:
        """Bring it up with `policy`; returns when it has answered a chat request, or raises SalusError."""

    def everywhere(self, call: ReplicaCall, *arguments: PolicyRef) -> list[Any]:
        """`call` on every living replica: its `ReplicaState`, or `ReplicaTraffic`. RayError where one raises."""

    def stop(self) -> None:
        """Take it down; harmless where it is not up."""


class ServeEndpoint:
    """The endpoint on Ray Serve and `ray.serve.llm`. Life: start -> everywhere* -> stop.

    An endpoint that another process started is found by its name: `everywhere` and `stop` need no start here.
    """

    def __init__(self, config: PublisherConfig, namespace: str, office: DeskAddress | None = None) -> None:
        self._config = config
        self._app = app_name(namespace)
        self._feedback = FeedbackOffice(config.feedback, DeskAddress(actor=FEEDBACK_ACTOR, namespace=namespace))
        self._guard = GuardOffice(config.guard, DeskAddress(actor=GUARD_ACTOR, namespace=namespace))
        self._office = office
        self._handle: Any = None

    def start(self, policy: PolicyRef, desk: DeskAddress) -> None:
        from ray import serve

        deadline = time.monotonic() + self._config.start_timeout_s
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": self._config.host, "port": self._config.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        # By which the endpoint is asked whether it answers; nobody else ever has it.
        token, key = new_key(PROBE, "client")
        front = FrontOptions(
            gateway=self._config.gateway,
            feedback=self._config.feedback,
            feedback_desk=self._feedback.open(),
            guard=self._config.guard,
            guard_desk=self._guard.open(max(0.0, deadline - time.monotonic())),
            office=self._office,
            keys=() if self._config.gateway.open else (key,),
        )
        self._deploy(policy, desk, front, deadline)
        self._wait_for_answer(token, deadline)

    def everywhere(self, call: ReplicaCall, *arguments: PolicyRef) -> list[Any]:
        # Ray's own broadcast goes through the deployment handle, never through a public route.
        from ray import serve
        from ray.llm._internal.serve.utils.broadcast import broadcast

        if self._handle is None:
            self._handle = serve.get_deployment_handle(deployment_name(self._config), self._app)
        deadline = time.monotonic() + self._config.drain_timeout_s
        while True:
            try:
                replies: list[Any] = broadcast(self._handle, call, args=list(arguments))
            except (RayActorError, RuntimeError) as error:
                # All calls may be repeated.
                if time.monotonic() > deadline or not _will_pass(error):
                    raise
            else:
                # None lives where the only replica has crashed; Serve is starting it again.
                if replies or time.monotonic() > deadline:
                    return replies
            time.sleep(0.2)

    def stop(self) -> None:
        self._handle = None
        if serve_address() is not None:
            self._take_down()
        # After the replicas, whose last answers it judges.
        self._guard.close()
        # Last: what replicas had to tell is kept.
        self._feedback.close()

    def _take_down(self) -> None:
        from ray import serve

        # Serve without an application is of no use to anybody, whoever of several runs started it.
        if set(serve.status().applications) <= {self._app}:
            serve.shutdown()
        else:
            serve.delete(self._app)

    def _deploy(self, policy: PolicyRef, desk: DeskAddress, front: FrontOptions, deadline: float) -> None:
        # In a worker that ends with the task: building the app imports vLLM and torch.
        task = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(deploy)
        placed = task.options(scheduling_strategy=beside_me())
        running = placed.remote(self._config, policy, desk, front, self._app)
        try:
            ray.get(running, timeout=max(0.0, deadline - time.monotonic()))
        except GetTimeoutError as error:
            ray.cancel(running, force=True)
            raise SalusError(
                f"The endpoint was not up after {self._config.start_timeout_s:g} s ({self._replica_message()}); "
                "raise publish.start_timeout_s or free what it waits for."
            ) from error
        except RayError as error:
            raise SalusError(
                f"The endpoint could not start with policy {policy.version} at {policy.path}: "
                f"{self._replica_message() or reason(error)}"
            ) from error

    def _replica_message(self) -> str:
        """What Serve says about the app and its unhealthy deployments, in one line; empty where it says nothing."""
        from ray import serve

        app = serve.status().applications.get(self._app)
        messages = [] if app is None else [deployment.message for deployment in app.deployments.values()]
        return " ".join(last_line(message) for message in messages if message)

    def _wait_for_answer(self, token: str, deadline: float) -> None:
        base = f"{self._config.url}/v1"
        question = {
            "model": self._config.model_id,
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


def _fetch(url: str, body: dict[str, Any] | None, token: str, timeout_s: float) -> None:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=max(0.1, timeout_s)) as response:
        response.read()


def _will_pass(error: Exception) -> bool:
    """Whether a replica died meanwhile, which Serve soon no longer lists, or the handle is too young.

    Ray's broadcast makes the handle's router in this thread where it comes before the router's own, and that fails.
    """
    return isinstance(error, RayActorError) or "no running event loop" in str(error)
