"""`salus serve` and `salus rollback`: the registry's current policy behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import contextlib
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import Overrides, console
from pipelines.cli.policy import DEFAULT, Reason, RegistryFolder

if TYPE_CHECKING:
    from pipelines.serving.settings import ServeSettings


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus serve --policy clinic=demo-s7-c2 --policy ward=demo-s7-c1")(serve)
    app.command(epilog='Example: salus rollback --reason "too many refusals"')(rollback)


def serve(
    settings: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="A YAML file of settings.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="[NAME=]VERSION",
            help="This one until the registry changes; with NAME= for good, and several side by side.",
        ),
    ] = None,
    registry: RegistryFolder = DEFAULT,
    overrides: Overrides = None,
) -> None:
    """Serve the registry's current policy until Ctrl-C; promotions and rollbacks go live in place meanwhile."""
    from pipelines.serving.choice import chosen_settings

    def read() -> tuple[ServeSettings, str | None]:
        return chosen_settings(settings, overrides or (), policy or ())

    chosen, first = read()
    namespace = f"salus-serve-{uuid.uuid4().hex[:8]}"
    if chosen.routed:
        _serve_routed(chosen, lambda: read()[0], registry, first, namespace)
    else:
        _serve_one(chosen, registry, first, namespace)


def _serve_one(chosen: ServeSettings, registry: Path, policy: str | None, namespace: str) -> None:
    from actors.serve.address import check_address
    from actors.serve.config import publisher_cpus
    from actors.serve.publisher.publisher import Publisher
    from actors.serve.replica.published import DeskAddress, PolicyInActor
    from actors.serve.shadow.config import shadow_cpus
    from pipelines.registry.store import Registry
    from pipelines.serving.cluster import serving_cluster
    from pipelines.serving.follower import Follower, check_first
    from pipelines.serving.office import open_office
    from pipelines.serving.shadow import ShadowOffice

    store = Registry(registry)
    store.entries()
    check_first(store, chosen.publish.url, policy, lambda version: chosen.publish)
    if chosen.cluster.address is None:
        check_address(chosen.publish)
    shadow = ShadowOffice(chosen.shadow, store, chosen.publish, namespace, _say)
    with serving_cluster(chosen, namespace, publisher_cpus(chosen.publish) + shadow_cpus(chosen.shadow)):
        # The office lives as long as its handle.
        pages = open_office(chosen.pages, store, chosen.publish, namespace) if chosen.pages is not None else None
        office = pages[0] if pages is not None else None
        desk = PolicyInActor(DeskAddress(namespace=namespace))
        publisher = Publisher(chosen.publish, desk, office=office, shadow=shadow.open())
        follower = Follower(store, publisher, _say)
        try:
            follower.start(policy)
            _say(f"{publisher.served_version()} at {publisher.url}/v1 until Ctrl-C")

            def step() -> None:
                follower.step()
                shadow.step()

            _until_told(chosen.poll_s, step)
        finally:
            follower.end()
            publisher.stop()
            shadow.close()


def _serve_routed(
    chosen: ServeSettings, read_again: Callable[[], ServeSettings], registry: Path, first: str | None, namespace: str
) -> None:
    from actors.serve.address import check_address
    from pipelines.serving.cluster import serving_cluster
    from pipelines.serving.routed import check_some_start, routed_cpus, serving_together

    check_some_start(chosen, registry, first)
    if chosen.cluster.address is None:
        check_address(chosen.publish)
    with (
        serving_cluster(chosen, namespace, routed_cpus(chosen)),
        serving_together(chosen, read_again, registry, first, namespace, _say) as versions,
    ):
        served = ", ".join(f"{name}: {version}" for name, version in versions.items())
        _say(f"{served} at {chosen.publish.url}/v1 until Ctrl-C")
        _until_told(chosen.poll_s, lambda: None)


def _until_told(poll_s: float, step: Callable[[], None]) -> None:
    """Take steps until Ctrl-C, or what ends a service."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        while True:
            time.sleep(poll_s)
            step()


def rollback(
    registry: RegistryFolder = DEFAULT,
    reason: Reason = "",
    wait: Annotated[float, typer.Option("--wait", metavar="SECONDS", help="How long endpoints may take.")] = 60.0,
) -> None:
    """Put the former policy back, in the registry and at every endpoint that serves it."""
    from pipelines.registry.store import Registry
    from pipelines.serving.rollback import roll_back

    change = roll_back(Registry(registry), reason, wait, _say)
    _say(f"{change.version} is current again (before: {change.previous or 'none'})")


def _say(line: str) -> None:
    console().print(line, markup=False, highlight=False, soft_wrap=True)
