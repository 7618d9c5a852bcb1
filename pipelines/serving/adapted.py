"""Policies that `salus serve` serves as LoRA adapters: which of them share an engine, and their adapters on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.publisher.endpoint import ServedAdapter
from actors.serve.router.adapted import AdaptedModels
from actors.training.adapter import ADAPTER_CONFIG, check_adapter
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.export import base_folder, export_policy
from pipelines.registry.store import Registry
from pipelines.registry.stored import open_registry
from pipelines.serving.settings import ServeSettings, policy_config

# The highest rank that vLLM serves.
MOST_RANK = 512


@dataclass(frozen=True)
class AdaptedPolicy:
    """One policy as an adapter: its registry and entry, the adapter's folder, and its rank."""

    registry: Registry
    entry: PolicyEntry
    folder: Path
    rank: int


@dataclass(frozen=True)
class AdaptedGroup:
    """Policies of one base model, by the name clients ask for."""

    base: Path
    policies: dict[str, AdaptedPolicy]

    @property
    def name(self) -> str:
        """What their application is called; the same for one folder."""
        return f"base-{hashlib.sha256(str(self.base).encode()).hexdigest()[:12]}"


@contextmanager
def adapted_groups(settings: ServeSettings, registry: Path) -> Iterator[tuple[AdaptedGroup, ...]]:
    """Inside, each policy with `lora: true` has its adapter in a folder of its registry; those of one base together.

    Args:
        settings: what is served.
        registry: of policies that name none.

    Raises:
        SalusError: a policy is unknown, has no adapter on its deployed model, or one that vLLM does not serve.
    """
    groups: dict[Path, AdaptedGroup] = {}
    with ExitStack() as made:
        for name, policy in settings.named.items():
            if not policy.lora or policy.policy is None:
                continue
            store = open_registry(policy.registry or registry)
            try:
                entry = store.find(policy.policy)
                base = base_folder(store, entry)
                place = Path(made.enter_context(tempfile.TemporaryDirectory(prefix=".adapters-", dir=store.root)))
                folder = place / name
                store.check_approved(entry)
                export_policy(store, entry.version, folder, "adapter")
                check_adapter(folder)
                found = AdaptedPolicy(store, entry, folder, _rank(folder))
            except SalusError as error:
                raise SalusError(f"policies.{name}.lora=true does not go with this policy: {error.sentence}") from error
            groups.setdefault(base, AdaptedGroup(base, {})).policies[name] = found
        yield tuple(groups.values())


class AdaptedPolicies:
    """The policies of one group behind the router. Life: start -> end; what fails is told, and no other's business."""

    def __init__(self, group: AdaptedGroup, models: AdaptedModels, url: str, say: Callable[[str], None]) -> None:
        self._group = group
        self._models = models
        self._url = url
        self._say = say

    def start(self) -> dict[str, str]:
        """Bring them up: their versions by name; empty where that failed, which has been told."""
        policies = self._group.policies
        try:
            with ExitStack() as noted:
                deeds = [
                    noted.enter_context(
                        each.registry.audit.entry(
                            "start", each.entry.version, None, "as told, with lora", f"{self._url} (model {name})"
                        )
                    )
                    for name, each in policies.items()
                ]
                self._models.start(PolicyRef(version=self._group.name, path=str(self._group.base)))
                for deed, each in zip(deeds, policies.values(), strict=True):
                    deed.done(each.entry.version, None)
        except SalusError as error:
            for name in policies:
                self._say(f"{name}: it is not up: {error.sentence}")
            return {}
        return {name: each.entry.version for name, each in policies.items()}

    def end(self) -> None:
        """Take them down."""
        self._models.stop()


def adapted_policies(
    groups: Sequence[AdaptedGroup],
    settings: ServeSettings,
    namespace: str,
    pages: Mapping[str, ActorAddress],
    say: Callable[[str], None],
) -> list[AdaptedPolicies]:
    """The groups as they are brought up. `pages`: the actor behind the pages, by the policy that has them."""
    found = []
    for group in groups:
        adapters = [
            ServedAdapter(
                model=name,
                policy=PolicyRef(version=each.entry.version, path=str(each.folder)),
                rank=each.rank,
                config=policy_config(settings.publish, name, settings.named[name], alone=not settings.policies),
                pages=pages.get(name),
            )
            for name, each in group.policies.items()
        ]
        config = settings.publish.model_copy(update={"model_id": group.name, "router": True})
        models = AdaptedModels(config, namespace, adapters)
        found.append(AdaptedPolicies(group, models, settings.publish.url, say))
    return found


def _rank(folder: Path) -> int:
    """The rank of an adapter's widest matrix.

    Raises:
        SalusError: vLLM serves none so wide.
    """
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    rank = max(int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values()), 0)
    if rank > MOST_RANK:
        raise SalusError(f"its adapter has rank {rank}, and vLLM serves {MOST_RANK} at most; leave lora out.")
    return rank
