"""`salus serve` and `salus rollback`: the registry's current policy behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import contextlib
import signal
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.console import Overrides, console
from pipelines.cli.policy import DEFAULT, Reason, RegistryFolder


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus serve --registry registry --set publish.port=8080")(serve)
    app.command(epilog='Example: salus rollback --reason "too many refusals"')(rollback)


def serve(
    settings: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="A YAML file of settings.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="VERSION", help="This one until the registry changes.")
    ] = None,
    registry: RegistryFolder = DEFAULT,
    overrides: Overrides = None,
) -> None:
    """Serve the registry's current policy until Ctrl-C; promotions and rollbacks go live in place meanwhile."""
    from actors.policy_desk import DeskAddress, OwnDesk
    from actors.publisher import Publisher, publisher_cpus
    from actors.serve_address import check_address
    from actors.shadow.config import shadow_cpus
    from pipelines.registry.store import Registry
    from pipelines.serving.cluster import serving_cluster
    from pipelines.serving.follower import Follower
    from pipelines.serving.office import open_office
    from pipelines.serving.settings import load_settings
    from pipelines.serving.shadow import ShadowOffice

    chosen = load_settings(settings, overrides or ())
    store = Registry(registry)
    store.entries()
    if chosen.cluster.address is None:
        check_address(chosen.publish)
    namespace = f"salus-serve-{uuid.uuid4().hex[:8]}"
    shadow = ShadowOffice(chosen.shadow, store, chosen.publish, namespace, _say)
    with serving_cluster(chosen, namespace, publisher_cpus(chosen.publish) + shadow_cpus(chosen.shadow)):
        # The office lives as long as its handle.
        pages = open_office(chosen.pages, store, chosen.publish, namespace) if chosen.pages is not None else None
        office = pages[0] if pages is not None else None
        desk = OwnDesk(DeskAddress(namespace=namespace))
        publisher = Publisher(chosen.publish, desk, office=office, shadow=shadow.open())
        follower = Follower(store, publisher, _say)
        try:
            follower.start(policy)
            _say(f"{publisher.served_version()} at {publisher.url}/v1 until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                # What ends a service.
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                while True:
                    time.sleep(chosen.poll_s)
                    follower.step()
                    shadow.step()
        finally:
            follower.end()
            publisher.stop()
            shadow.close()


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
