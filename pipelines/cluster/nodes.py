"""The nodes of a joined cluster: whether each sees a run's files, and how long those with GPUs were held.

A probe file asks before engines take GPUs.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.errors import SalusError, reason
from actors.files.atomic import remove, write_atomically
from pipelines.cluster.times import NodesHeld
from pipelines.config.cluster import ClusterConfig

# A network file system may show a new file late.
_LATE_S = 5.0
_LOOK_S = 0.2
# Between two looks at which nodes there are.
WATCH_S = 5.0


class NodeWatch:
    """Looks every `every_s` which nodes with GPUs are up. Life: `watching`, with `held` during it or afterwards."""

    def __init__(self, every_s: float = WATCH_S) -> None:
        self._every_s = every_s
        self._ended = threading.Event()
        self._last_s: float | None = None
        self._last: list[float] = []
        self.held = NodesHeld()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """This process is part of a cluster inside."""
        thread = threading.Thread(target=self._watch, name="nodes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def look(self, gpus: Sequence[float], now_s: float) -> None:
        """Note the GPUs of each node that is up now; what was up at the last look was held until now."""
        if self._last_s is not None:
            passed_s = now_s - self._last_s
            self.held += NodesHeld(
                node_s=passed_s * len(self._last), gpu_s=passed_s * sum(self._last), most=len(self._last)
            )
        self._last, self._last_s = list(gpus), now_s

    def _watch(self) -> None:
        while True:
            nodes = [node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]]
            self.look([gpus for gpus in nodes if gpus], time.monotonic())
            if self._ended.wait(self._every_s):
                self.look((), time.monotonic())
                return


class NodeProbe:
    """Asks nodes for a run's folder and its models. Life: `check`*, which asks those that were not asked yet."""

    def __init__(self, folder: Path, models: Sequence[Path], address: str, wait_s: float) -> None:
        """
        Args:
            folder: the run's, which exists.
            models: folders of models that actors load.
            address: at which the cluster was joined.
            wait_s: how long a node may take to answer.
        """
        self._folder = folder.absolute()
        self._models = tuple(str(model.absolute()) for model in models)
        # A Ray client is on no node of the cluster.
        self._asked = set() if address.startswith("ray://") else {ray.get_runtime_context().get_node_id()}
        self._wait_s = wait_s

    def check(self) -> None:
        """Return when all living nodes were asked and see all of it.

        Raises:
            SalusError: one does not see a file, cannot write there, or does not answer.
        """
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        new = {node: address for node, address in nodes.items() if node not in self._asked}
        if not new:
            return
        token = uuid.uuid4().hex
        # The name of a file that is not whole: whatever looks through a run's folder passes it over.
        probe = self._folder / f".probe.{token}.tmp"
        answers = {node: self._folder / f".probe-{node}.{token}.tmp" for node in new}
        write_atomically(probe, token.encode(), sync=False)
        try:
            self._ask(new, probe, answers)
        finally:
            for path in (probe, *answers.values()):
                remove(path)
        self._asked |= new.keys()

    def _ask(self, nodes: Mapping[str, str], probe: Path, answers: Mapping[str, Path]) -> None:
        look_here: Any = ray.remote(num_cpus=0, max_retries=1)(missing)
        asked = {
            node: look_here.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)
            ).remote(str(probe), str(answers[node]), self._models)
            for node in nodes
        }
        until = time.monotonic() + self._wait_s
        for node, answer in asked.items():
            who = f"Node {nodes[node]} of the cluster"
            try:
                found = ray.get(answer, timeout=max(0.0, until - time.monotonic()))
            except GetTimeoutError:
                raise SalusError(
                    f"{who} did not say within {self._wait_s:g} s whether it sees {self._folder}; look at that node,"
                    " or raise cluster.wait_s."
                ) from None
            except RayError as error:
                if not _alive(node):
                    continue
                raise SalusError(
                    f"{who} cannot run a task of Salus ({reason(error)}); install this same version of Salus there."
                ) from error
            if found is None and not _appears(answers[node]):
                found = f"{answers[node].parent}: what it writes there does not appear on this machine"
            if found is not None:
                raise SalusError(
                    f"{who} does not share {found}. Run folder and models must be on a file system that all nodes"
                    " mount at the same path, as NFS or EFS. Name it with --run and model.path; set HF_HOME and"
                    " SALUS_CACHE to folders of it where models are fetched or built."
                )


def node_check(cluster: ClusterConfig, folder: Path, models: Sequence[Path]) -> Callable[[], None]:
    """`NodeProbe.check` for the cluster that this process has joined; an embedded Ray has one node, and no question."""
    if cluster.joined is None:
        return lambda: None
    return NodeProbe(folder, models, cluster.joined, cluster.wait_s).check


def missing(probe: str, answer: str, models: Sequence[str]) -> str | None:
    """What the node that this runs on does not see, and why; None: it sees all, and wrote its answer.

    Args:
        probe: a file that holds a part of its own name.
        answer: the file to write.
        models: folders with a `config.json`.
    """
    folder = os.path.dirname(probe)
    if not _appears(Path(probe)):
        return f"{folder}: the probe file of this run is not there"
    for model in models:
        if not os.path.isdir(model):
            return f"{model}: there is no such folder"
    try:
        write_atomically(Path(answer), b"", sync=False)
    except OSError as error:
        return f"{folder}: it cannot write there ({error.strerror})"
    return None


def _appears(path: Path) -> bool:
    until = time.monotonic() + _LATE_S
    while not path.is_file():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_S)
    return True


def _alive(node: str) -> bool:
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
