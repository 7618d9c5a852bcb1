"""`salus publish`: serve a run's champion, or any model folder, until Ctrl-C."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.console import (
    Overrides,
    RecipeName,
    RunFolderOption,
    Seed,
    console,
    resolve,
    run_place,
    wait_for_ctrl_c,
)
from pipelines.config.recipe import Recipe


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus publish demo --set publish.port=8080")(publish)


def publish(
    recipe: RecipeName,
    model: Annotated[Path | None, typer.Option(help="A model folder; the run's last champion without it.")] = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
) -> None:
    """Serve a policy behind /v1/chat/completions and /v1/models until Ctrl-C."""
    from actors.engine.model_folder import check_model_folder
    from actors.serve.address import check_address
    from actors.serve.config import check_lengths
    from actors.serve.publisher.publisher import Publisher
    from actors.serve.replica.published import DeskAddress, PolicyInActor
    from pipelines.cluster.session import session

    settings = resolve(recipe, overrides, seed)
    if not settings.publish.enabled:
        raise SalusError("The recipe's publish.enabled is false; add --set publish.enabled=true.")
    with ExitStack() as up:
        if model is not None:
            check_model_folder(model)
            policy = PolicyRef(version=model.absolute().name, path=str(model.absolute()))
        else:
            policy = up.enter_context(champion_of(settings, run))
        check_lengths(settings.publish, Path(policy.path))
        if settings.cluster.address is None:
            check_address(settings.publish)
        namespace = f"salus-publish-{uuid.uuid4().hex[:8]}"
        up.enter_context(session(settings, namespace))
        publisher = Publisher(settings.publish, PolicyInActor(DeskAddress(namespace=namespace)))
        try:
            with started(settings, run, policy, publisher.url) if model is None else nullcontext():
                publisher.start(policy)
            console().print(f"{policy.version} at {publisher.url}/v1 until Ctrl-C", highlight=False)
            wait_for_ctrl_c()
        finally:
            publisher.stop()


@contextmanager
def started(recipe: Recipe, run: str | None, policy: PolicyRef, url: str) -> Iterator[None]:
    """In the audit log of the run's folder; a run at an address was only fetched to be read."""
    from actors.serve.audit_log import AuditLog
    from actors.serve.publication_audit import PublicationAudit

    place = run_place(recipe, run)
    if not isinstance(place, Path):
        yield
        return
    log = AuditLog(RunFolder(place).audit)
    with PublicationAudit(log).entry("start", policy.version, reason="salus publish", endpoint=url):
        yield


@contextmanager
def champion_of(recipe: Recipe, run: str | None) -> Iterator[PolicyRef]:
    """The champion of a run's last decided cycle; fetched for as long as this is open where the run is stored."""
    from pipelines.runs.store.reading import readable

    with readable(str(run_place(recipe, run))) as (root, view):
        champion = _last_champion(recipe, RunFolder(root))
        if view is not None:
            view.fetch_below(Path(champion.path))
        yield champion


def _last_champion(recipe: Recipe, folder: RunFolder) -> PolicyRef:
    from pipelines.alignment.run import past_outcomes

    outcomes = past_outcomes(folder, PolicyRef(version="", path=""), recipe.cycles)
    if not outcomes or not outcomes[-1].champion.path:
        raise SalusError(f"No cycle of {folder.root} has a new champion yet; run salus align first or give --model.")
    return outcomes[-1].champion
