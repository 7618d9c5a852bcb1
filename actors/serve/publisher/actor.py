"""The end of an endpoint whose command was killed on a cluster: Ray keeps detached actors after their driver."""

from __future__ import annotations

import threading
import time
from typing import Any

import ray

from actors.contract.actor_address import ActorAddress, beside_me, find_actor
from actors.contract.ray_internals import job_has_ended
from actors.serve.address import serve_address
from actors.serve.publisher.endpoint import take_down
from actors.serve.replica.app import app_name

REAPER = "salus-endpoint-reaper"
_LOOK_S = 2.0


class EndpointReaper:
    """Waits for the end of a driver, then takes down what its namespace holds, and ends.

    It begins by itself: a driver that is killed at once could not call it any more.
    """

    def __init__(self, job: str, namespace: str) -> None:
        """`job`: the id of the driver's Ray job, in hexadecimal."""
        threading.Thread(target=_reap, args=(job, namespace), name="reaper", daemon=True).start()


def _reap(job: str, namespace: str) -> None:
    while not job_has_ended(job):
        time.sleep(_LOOK_S)
    while not end_endpoint(namespace):
        time.sleep(_LOOK_S)
    ray.kill(find_actor(ActorAddress(actor=REAPER, namespace=namespace)))


def end_endpoint(namespace: str) -> bool:
    """Take the Serve applications of a namespace down and end its detached actors; False where one is left."""
    from ray import serve

    try:
        if serve_address() is not None:
            own = app_name(namespace)
            for app in list(serve.status().applications):
                if app == own or app.startswith(f"{own}-"):
                    take_down(app)
        left = [
            actor["name"]
            for actor in ray.util.list_named_actors(all_namespaces=True)
            if actor["namespace"] == namespace and actor["name"] != REAPER
        ]
        for name in left:
            ray.kill(find_actor(ActorAddress(actor=name, namespace=namespace)))
    except Exception:  # Something ended meanwhile, or Serve is busy: the next look tells.
        return False
    return not left


EndpointReaperActor = ray.remote(num_cpus=0, max_restarts=-1)(EndpointReaper)


def start_reaper(namespace: str) -> Any:
    """Have the endpoint of this driver's namespace taken down once this driver has ended, however it ends."""
    context = ray.get_runtime_context()
    return EndpointReaperActor.options(
        name=REAPER, namespace=namespace, lifetime="detached", scheduling_strategy=beside_me()
    ).remote(context.get_job_id(), namespace)
