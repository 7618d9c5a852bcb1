"""The environment in which an embedded Ray's processes start; this process has its own back when that Ray has ended.

An embedded Ray listens on loopback alone, its metrics included. Ray has one switch for it, which is meant for other
systems and is read when its library is loaded. In this process it is loaded already; the processes that Ray starts read
the switch from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

IDLE_WORKER_MS = 600_000


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables have these values inside, and their former ones afterwards."""
    former = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def on_loopback() -> Iterator[None]:
    """A Ray that is started inside has the node address 127.0.0.1."""
    # Where Ray is started; commands that only set variables do without it.
    from actors.contract.ray_internals import ray_constants

    former = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = former


def ray_environment(slots: int) -> dict[str, str]:
    """The variables of a Ray with so many CPU slots on fewer cores; one that the user has set keeps its value."""
    ours = {
        # A process that reserves no GPU sees none: it would otherwise compute on one that others have reserved.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
        # Logical CPUs outnumber cores here on purpose, which the raylet would warn of at every start.
        "RAY_worker_maximum_startup_concurrency": str(max(16, slots)),
        # Ray would end idle workers after a second, because a run's actors outnumber the CPUs: every shuffle would
        # start and import anew.
        "RAY_idle_worker_killing_time_threshold_ms": str(IDLE_WORKER_MS),
        # The agent looks through every process' memory each time, and an embedded Ray has no reader for it.
        "REPORTER_UPDATE_INTERVAL_MS": "30000",
        # A record of every task and its states, for a dashboard that is not there.
        "RAY_task_events_report_interval_ms": "0",
        # Serve looks over its few replicas ten times a second otherwise.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    }
    return {name: os.environ.get(name, value) for name, value in ours.items()}
