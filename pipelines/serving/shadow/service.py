"""Shadow mode beside an endpoint: which challenger, its engine, its actor, and what the terminal is told of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.contract.growth import boot_s
from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.engine.config import EngineConfig
from actors.engine.model_folder import check_model_folder
from actors.engine.sampling_defaults import sampling_defaults
from actors.errors import SalusError, reason
from actors.files.atomic import make_folder
from actors.merged import ADAPTER, is_unmerged
from actors.serve.config import PublisherConfig
from actors.serve.shadow.config import SHADOW_ACTOR, ShadowConfig, ShadowLink
from pipelines.registry.store import Registry

FOLDER = "shadow"
# What a shadow may take to answer what waits when the endpoint ends.
_END_S = 10.0


class ShadowService:
    """The challenger beside an endpoint, or none where `config` is None. Life: start -> step* -> stop.

    Once started, nothing of it raises: whatever becomes of the challenger, the endpoint goes on.
    """

    def __init__(
        self,
        config: ShadowConfig | None,
        registry: Registry,
        publish: PublisherConfig,
        namespace: str,
        say: Callable[[str], None],
    ) -> None:
        """Raises `SalusError` where there is no such challenger, its folder is no model, or holds too few tokens."""
        self._config = config
        self._publish = publish
        self._address = ActorAddress(actor=SHADOW_ACTOR, namespace=namespace)
        self._say = say
        self._challenger = find_challenger(config.policy, registry) if config is not None else None
        if config is not None and self._challenger is not None:
            shadow_engine(config, publish).length(Path(self._challenger.path), "publish")
        if self._challenger is not None:
            # A damaged one is told before anything starts.
            sampling_defaults(Path(self._challenger.path))
        where = config.folder if config is not None else registry.root / FOLDER
        self._folder = (where or registry.beside(FOLDER, "shadow.folder")).absolute()
        self._actor: Any = None
        # The answer to the question whether it is up, until it is there, and when it is overdue.
        self._up: Any = None
        self._late_s = math.inf

    def start(self) -> ShadowLink | None:
        """Have the challenger come up in the background; None where there is none.

        Raises:
            SalusError: its folder of records cannot be made.
        """
        config, challenger = self._config, self._challenger
        if config is None or challenger is None:
            return None
        try:
            make_folder(self._folder)
        except OSError as error:
            raise SalusError(
                f"shadow.folder {self._folder} cannot be made ({error.strerror}); name another."
            ) from error
        # Imported here: an endpoint without a challenger needs none of it.
        from actors.serve.shadow.actor import ShadowActor

        engine = shadow_engine(config, self._publish)
        actor: Any = ShadowActor.options(
            name=SHADOW_ACTOR,
            namespace=self._address.namespace,
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            # All that may wait, of every replica, and who asks how it is.
            max_concurrency=config.queue * self._publish.most_replicas + 8,
            runtime_env={"env_vars": engine.environment()},
        )
        self._actor = actor.remote(engine, challenger, self._folder, config, self._publish.feedback)
        self._up = self._actor.counts.remote()
        self._late_s = time.monotonic() + self._publish.start_timeout_s + boot_s()
        self._say(self._sentence(config, challenger))
        return ShadowLink(config=config, challenger=self._address)

    def step(self) -> None:
        """Say once that the challenger is up, why it is not, or that it takes long."""
        if self._up is None:
            return
        if not ray.wait([self._up], timeout=0)[0]:
            if time.monotonic() > self._late_s:
                self._late_s = math.inf
                self._say(f"shadow: {self._version} is not up yet; see whether Ray has its CPUs and GPUs free")
            return
        try:
            ray.get(self._up)
            self._say(f"shadow: {self._version} is up")
        except RayError as error:
            self._say(f"shadow: {self._version} does not come up ({reason(error)}); serving goes on without it")
        self._up = None

    def stop(self) -> None:
        """End the challenger; what it called stored is on disk already."""
        if self._actor is None:
            return
        try:
            ray.get(self._actor.close.remote(), timeout=_END_S)
        except RayError as error:
            self._say(f"shadow: what waited for {self._version} is not kept ({reason(error)})")
        ray.kill(self._actor)
        self._actor = self._up = None

    @property
    def _version(self) -> str:
        return self._challenger.version if self._challenger is not None else ""

    def _sentence(self, config: ShadowConfig, challenger: PolicyRef) -> str:
        which = 'requests that say "store": true' if config.consent == "opt_in" else "all requests"
        return (
            f"shadow: {challenger.version} answers {config.share:.0%} of {which}, unseen; both answers are kept in"
            f" {self._folder}, redacted"
        )


def find_challenger(name: str, registry: Registry) -> PolicyRef:
    """A model folder, a run's challenger as RUN/c2-kto, or a version of the registry with the weights of its day.

    Raises:
        SalusError: it is none of them, or its folder is no model.
    """
    path = Path(name).expanduser().absolute()
    challenger = _of_run(path)
    if path.is_dir():
        policy = PolicyRef(version=path.name, path=str(path))
    elif challenger is not None:
        policy = challenger
        if is_unmerged(policy):
            raise SalusError(
                f"{policy.version} did not win its cycle, so its run holds its adapter alone,"
                f" {Path(policy.path).with_name(ADAPTER)}. Merge that into the model that its adapter_config.json"
                " names, and name the merged folder."
            )
    else:
        entry = registry.find(name)
        policy = PolicyRef(version=entry.version, path=str(registry.intact(entry)[0]))
    check_model_folder(Path(policy.path))
    return policy


def shadow_engine(config: ShadowConfig, publish: PublisherConfig) -> EngineConfig:
    """An engine like a replica's in all that shapes an answer, of the challenger's own size."""
    return publish.engine.model_copy(
        update={
            "device": "cuda" if config.gpus else "cpu",
            "max_num_seqs": config.batch,
            "tensor_parallel": max(1, int(config.gpus)),
            "gpu_memory_utilization": config.gpu_memory_utilization,
            "kv_cache_gib": config.kv_cache_gib,
            "threads": max(1, int(config.cpus)),
        }
    )


def _of_run(path: Path) -> PolicyRef | None:
    """The challenger that RUN/c2-kto names; None where the path names none."""
    folder = RunFolder(path.parent)
    found = folder.find_challenger(path.name) if folder.recipe.is_file() else None
    return found[1] if found is not None else None
