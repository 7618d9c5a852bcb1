"""`salus publish`: serve a run's champion, or any model folder, until Ctrl-C."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer

from actors.errors import SalusError
from actors.records import PolicyRef
from actors.run_folder import RunFolder
from pipelines.cli.console import Overrides, RecipeName, RunFolderOption, Seed, console, resolve, wait_for_ctrl_c
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
    from actors.model_folder import check_model_folder
    from actors.policy_desk import DeskAddress, OwnDesk
    from actors.publisher import Publisher
    from actors.serve_address import check_address
    from pipelines.session import session

    settings = resolve(recipe, overrides, seed)
    if not settings.publish.enabled:
        raise SalusError("The recipe's publish.enabled is false; add --set publish.enabled=true.")
    if model is not None:
        check_model_folder(model)
        policy = PolicyRef(version=model.absolute().name, path=str(model.absolute()))
    else:
        policy = _champion(settings, run)
    if settings.cluster.address is None:
        check_address(settings.publish)
    namespace = f"salus-publish-{uuid.uuid4().hex[:8]}"
    with session(settings, namespace):
        publisher = Publisher(settings.publish, OwnDesk(DeskAddress(namespace=namespace)))
        try:
            publisher.start(policy)
            console().print(f"{policy.version} at {publisher.url}/v1 until Ctrl-C", highlight=False)
            wait_for_ctrl_c()
        finally:
            publisher.stop()


def _champion(recipe: Recipe, run: Path | None) -> PolicyRef:
    """The champion of a run's last decided cycle."""
    from pipelines.open_run import run_root
    from pipelines.run import past_outcomes

    folder = RunFolder(run_root(recipe, run))
    outcomes = past_outcomes(folder, PolicyRef(version="", path=""), recipe.cycles)
    if not outcomes or not outcomes[-1].champion.path:
        raise SalusError(f"No cycle of {folder.root} has a new champion yet; run salus align first or give --model.")
    return outcomes[-1].champion
