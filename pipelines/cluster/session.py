"""The Ray session of a run: an embedded Ray that ends with it, or a cluster that was there before."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import ray
from ray.data import DataContext

from actors.files.leftovers import MARKER
from actors.files.private import private_files
from actors.files.session_folder import SessionFolder, session_folder
from actors.serve.config import PublisherConfig
from actors.serve.proxy.environment import proxy_environment
from pipelines.cluster.join import join, restore_token, take_fresh_token
from pipelines.cluster.loopback import on_loopback
from pipelines.cluster.plan import Plan, available, check, make_plan
from pipelines.config.cluster import ClusterConfig
from pipelines.config.recipe import Recipe

GIB = 2**30
IDLE_WORKER_MS = 600_000


@contextmanager
def session(recipe: Recipe, namespace: str, phases: Sequence[Plan] = ()) -> Iterator[None]:
    """Ray is up inside, with room for the recipe's plan, checked before anything starts.

    Args:
        recipe: what is planned, and where it runs.
        namespace: of its actors.
        phases: what runs one after the other instead, where it is not the whole recipe.

    Raises:
        SalusError: the plan does not fit, or the cluster cannot be reached.
    """
    plans = phases or (make_plan(recipe),)
    if recipe.cluster.address is None:
        _check_all(plans, recipe)
        cpus = max(plan.cpus for plan in plans)
        with embedded_ray(recipe.cluster, namespace, cpus, recipe.publish):
            settle_ray_data()
            yield
    else:
        with joined_ray(recipe.cluster.address, namespace):
            _check_all(plans, recipe)
            settle_ray_data()
            yield


def _check_all(plans: Sequence[Plan], recipe: Recipe) -> None:
    there = available(recipe)
    for plan in plans:
        check(plan, there)


@contextmanager
def joined_ray(address: str, namespace: str) -> Iterator[None]:
    """This process is a driver of the cluster at `address` inside; the files it writes are private.

    Raises:
        SalusError: the cluster cannot be reached.
    """
    with private_files():
        join(address, namespace)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def embedded_ray(
    cluster: ClusterConfig, namespace: str, cpus: float, publish: PublisherConfig | None = None
) -> Iterator[None]:
    """A Ray of its own inside, which listens on loopback alone, takes no client without its token, and writes below
    a private folder. None of its processes and files is left at the end.

    Args:
        cluster: its settings.
        namespace: of this process in it.
        cpus: its slots, unless `cluster.logical_cpus` says otherwise.
        publish: the endpoint whose proxy it is ready for; None: none.

    Raises:
        SalusError: there is no private folder for it.
    """
    with private_files(), session_folder() as folder:
        former = take_fresh_token()
        try:
            _start(cluster, namespace, cpus, publish, folder)
            yield
        finally:
            ray.shutdown()
            restore_token(former)


def _start(
    cluster: ClusterConfig, namespace: str, cpus: float, publish: PublisherConfig | None, folder: SessionFolder
) -> None:
    slots = cluster.logical_cpus or math.ceil(cpus)
    settle_environment(slots)
    os.environ.update(proxy_environment(publish, folder.haproxy) if publish is not None else {})
    # Ray's processes alone: what this process starts beside them is not the session's.
    with _environment({MARKER: str(folder.root), "TMPDIR": str(folder.temporary)}), on_loopback():
        ray.init(
            # Never a cluster that happens to run on this machine, nor the one RAY_ADDRESS names.
            address="local",
            num_cpus=slots,
            num_gpus=cluster.gpus,
            namespace=namespace,
            object_store_memory=int(cluster.object_store_gib * GIB),
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=str(folder.ray),
        )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables have these values inside."""
    former = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def settle_environment(slots: int) -> None:
    """What the processes of a Ray find in their environment that has so many CPU slots on fewer cores."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Logical CPUs outnumber cores here on purpose, which the raylet would warn of at every start.
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(max(16, slots)))
    # Ray would end idle workers after a second, because a run's actors outnumber the CPUs: every shuffle would
    # start and import anew.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(IDLE_WORKER_MS))
    # The agent looks through every process' memory each time, and an embedded Ray's report is never read.
    os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "30000")
    # A record of every task and its states, for a dashboard that is not there.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    # Serve looks over its few replicas ten times a second otherwise.
    os.environ.setdefault("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.5")


def settle_ray_data() -> None:
    """Ray Data's settings in this process: no output of its own, and no actors started to read a few files."""
    context = DataContext.get_current()
    # The second version's reader lists files in actors of its own, started for every read. That takes half a minute on
    # two busy cores, where the first version takes a fifth of a second for the same rows.
    context.use_datasource_v2 = False
    # The order of rows is part of a run's result.
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.train", "ray.serve", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
