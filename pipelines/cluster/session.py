"""The Ray session of a run: an embedded Ray that ends with it, or a cluster that was there before."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.data import DataContext

from actors.contract.growth import Growth
from actors.contract.loopback import no_proxy
from actors.contract.ray_internals import quiet_errors
from actors.files.leftovers import MARKER
from actors.files.private import private_files
from actors.files.session_folder import SessionFolder, session_folder
from actors.serve.config import PublisherConfig
from actors.serve.proxy.environment import proxy_environment
from actors.serve.publisher.actor import start_reaper
from pipelines.cluster.environment import environment, on_loopback, ray_environment
from pipelines.cluster.join import fresh_token, join
from pipelines.cluster.plan import Plan, available, check, make_plan
from pipelines.config.cluster import ClusterConfig
from pipelines.config.recipe import Recipe

GIB = 2**30


@contextmanager
def session(recipe: Recipe, namespace: str, plan: Plan | None = None) -> Iterator[None]:
    """Ray is up inside, with room for a plan, checked before anything starts.

    Args:
        recipe: says where Ray runs.
        namespace: of its actors.
        plan: what will be started; None: all of the recipe.

    Raises:
        SalusError: the plan does not fit, or the cluster cannot be reached.
    """
    plan = plan or make_plan(recipe)
    if recipe.cluster.joined is None:
        check(plan, available(recipe))
        with embedded_ray(recipe.cluster, namespace, plan.cpus, recipe.publish):
            settle_ray_data()
            yield
    else:
        with joined_ray(recipe.cluster, namespace, recipe.publish.enabled):
            check(plan, available(recipe))
            settle_ray_data()
            yield


@contextmanager
def joined_ray(cluster: ClusterConfig, namespace: str, serving: bool) -> Iterator[None]:
    """This process is a driver of a cluster that was there before inside; the files it writes are private.

    Args:
        cluster: says which, and what it may grow to.
        namespace: of the actors.
        serving: whether there may be an endpoint, which is to end with this process even where that is killed.

    Raises:
        SalusError: the cluster cannot be reached.
    """
    growth = Growth(cpus=cluster.logical_cpus, gpus=cluster.gpus, node_boot_s=cluster.node_boot_s).environment
    with private_files(), environment(no_proxy() | growth):
        join(cluster.joined or "auto", namespace, growth)
        try:
            reaper = start_reaper(namespace) if serving else None
            yield
            if reaper is not None:
                ray.kill(reaper)
        finally:
            # After an error the reaper stays, and looks whether all of the endpoint was taken down.
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
    slots = cluster.logical_cpus or math.ceil(cpus)
    with private_files(), session_folder() as folder, fresh_token():
        proxy = proxy_environment(publish, folder.haproxy) if publish is not None else {}
        # The proxy's program and sockets end with the session's folder: whatever starts later must not look for them.
        with environment(ray_environment(slots) | no_proxy() | proxy):
            try:
                _start(cluster, namespace, slots, folder)
                yield
            finally:
                ray.shutdown()


def _start(cluster: ClusterConfig, namespace: str, slots: int, folder: SessionFolder) -> None:
    # Ray's processes alone: what this process starts beside them is not the session's.
    with environment({MARKER: str(folder.root), "TMPDIR": str(folder.temporary)}), on_loopback():
        quiet_errors()
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
