"""A router and the policies behind it, as `salus serve` brings them up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.router.endpoint import start_router, stop_router
from actors.serve.router.fits import engine_config, with_engines_of
from actors.serve.router.models import RoutedTraffic
from actors.serve.router.publisher import Fit, RoutedPublisher, routed_publisher
from pipelines.registry.store import Registry
from pipelines.registry.stored import open_registry
from pipelines.serving.adapted import AdaptedGroup, adapted_policies
from pipelines.serving.dashboard.actor import open_pages
from pipelines.serving.follower import check_first
from pipelines.serving.named import NamedPolicy, PoliciesTogether
from pipelines.serving.settings import ServeSettings, engine_of, policy_config

Say = Callable[[str], None]


def routed_cpus(settings: ServeSettings, adapted: Sequence[AdaptedGroup] = ()) -> float:
    """Logical CPUs of all policies, and of the largest once more: a policy's next application runs beside it.

    Those of a group share an engine, and have no next application.
    """
    each = [_most_cpus(settings, name) for name, policy in settings.named.items() if not policy.lora]
    shared = publisher_cpus(settings.publish) * len(adapted)
    return sum(each) + max(each, default=0.0) + shared


def check_some_start(settings: ServeSettings, registry: Path, first: str | None) -> None:
    """Refuse, before anything starts, settings by which no policy could come up; of several, any may fail.

    Raises:
        SalusError: as `check_first` does, of each policy.
    """
    faults = []
    for name, policy in settings.named.items():
        store = open_registry(policy.registry or registry)
        try:
            check_first(store, settings.publish.url, policy.policy or first, partial(settings.fit, name))
        except SalusError as error:
            faults.append(error.sentence if len(settings.named) == 1 else f"{name}: {error.sentence}")
    if len(faults) == len(settings.named):
        raise SalusError(" ".join(faults))


@contextmanager
def serving_together(
    settings: ServeSettings,
    read_again: Callable[[], ServeSettings],
    registry: Path,
    first: str | None,
    namespace: str,
    say: Say,
    adapted: Sequence[AdaptedGroup] = (),
) -> Iterator[dict[str, str]]:
    """Inside, every policy that can be is up, and follows its registry; gives their versions by name.

    Args:
        settings: what is served.
        read_again: the settings as they are by then; asked for engine settings at every publication.
        registry: of policies that name none.
        first: the version that an unnamed policy begins with.
        namespace: of the actors.
        say: takes lines for the operator.
        adapted: the policies that are served as LoRA adapters.

    Raises:
        SalusError: two policies follow one registry, the address is another's, or no policy is up.
    """
    registries = {name: open_registry(policy.registry or registry) for name, policy in settings.named.items()}
    check_registries(settings, registries)
    with ExitStack() as up:
        up.callback(stop_router, namespace)
        start_router(settings.publish, namespace)
        with_pages, pages = _pages(settings), None
        if settings.pages is not None:
            traffic = RoutedTraffic(settings.publish, namespace)
            # It lives as long as its handle.
            pages, handle = open_pages(settings.pages, registries[with_pages], settings.publish, namespace, traffic)
            up.callback(lambda: handle)
        placing = threading.Lock()

        def publisher(name: str) -> RoutedPublisher:
            config = policy_config(settings.publish, name, settings.named[name], alone=not settings.policies)
            behind = pages if name == with_pages else None
            return routed_publisher(config, namespace, fit_of(settings, read_again, name), behind, placing)

        policies = [
            NamedPolicy(name, registries[name], publisher(name), say, policy.policy, first)
            for name, policy in settings.named.items()
            if not policy.lora
        ]
        versions: dict[str, str] = {}
        behind = {with_pages: pages} if pages is not None else {}
        for group in adapted_policies(adapted, settings, namespace, behind, say):
            up.callback(group.end)
            versions |= group.start()
        together = PoliciesTogether(policies, settings.poll_s, say)
        up.callback(together.end)
        versions = together.start(versions)
        together.follow()
        yield versions


def fit_of(settings: ServeSettings, read_again: Callable[[], ServeSettings], name: str) -> Fit:
    """What engine each version of a policy needs, by the settings as they are when it is published."""

    def fit(policy: PolicyRef) -> PublisherConfig:
        now = read_again()
        policies = now.policies if name in now.policies else settings.policies
        # Where it listens, who may come in and so on stays as it began.
        publish = with_engines_of(settings.publish, now.publish)
        return settings.model_copy(update={"publish": publish, "policies": policies, "engines": now.engines}).fit(
            name, policy.version
        )

    return fit


def check_registries(settings: ServeSettings, registries: dict[str, Registry]) -> None:
    """Refuse two policies that follow one registry: they would always be the same.

    Raises:
        SalusError: names both.
    """
    following = {name: registries[name].root for name, policy in settings.named.items() if policy.policy is None}
    root, times = next(iter(Counter(following.values()).most_common(1)), (None, 0))
    if times > 1:
        names = " and ".join(name for name, each in following.items() if each == root)
        raise SalusError(
            f"{names} follow the same registry {root}; give each one of its own (policies.NAME.registry), or a"
            " version for good (policies.NAME.policy)."
        )


def _pages(settings: ServeSettings) -> str:
    """The policy whose application has the pages.

    Raises:
        SalusError: it is none of those served.
    """
    named = settings.pages.policy if settings.pages is not None else None
    if named is not None and named not in settings.named:
        raise SalusError(f"pages.policy={named} is none of the policies served: {', '.join(settings.named)}.")
    return named or next(iter(settings.named))


def _most_cpus(settings: ServeSettings, name: str) -> float:
    policy = settings.named[name]
    config = policy_config(settings.publish, name, policy, alone=not settings.policies)
    engines = [engine_of({}, ""), *policy.engines.values()]
    return max(publisher_cpus(engine_config(config, engine)) for engine in engines)
