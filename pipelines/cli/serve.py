"""What serves until Ctrl-C: `salus serve`, `rollback` and `publish`; `salus shadow`: a challenger beside it."""

from __future__ import annotations

import contextlib
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand, SalusCommand
from pipelines.cli.console.options import (
    DataFolder,
    Overrides,
    RecipeName,
    RunFolderOption,
    Seed,
    resolve,
    run_place,
    wait_for_ctrl_c,
)
from pipelines.cli.console.output import answer, console, reporter, say
from pipelines.cli.policy import DEFAULT, Reason, RegistryFolder
from pipelines.config.recipe import Recipe

if TYPE_CHECKING:
    from pipelines.serving.settings import ServeSettings


def register(app: typer.Typer) -> None:
    app.command(cls=SalusCommand, epilog="Example: salus publish demo --set publish.port=8080")(publish)
    app.command(cls=SalusCommand, epilog="Example: salus serve --policy clinic=demo-s7-c2 --policy ward=demo-s7-c1")(
        serve
    )
    app.command(cls=FactsCommand, epilog='Example: salus rollback --reason "too many refusals"')(rollback)
    shadow = typer.Typer(help="What a challenger answered unseen beside the live policy.", no_args_is_help=True)
    shadow.command(
        cls=FactsCommand, epilog="Example: salus shadow report demo --folder registry/shadow --set judge.regimen=RULES"
    )(report)
    # With one command alone, Typer would leave its name out.
    shadow.callback()(lambda: None)
    app.add_typer(shadow, name="shadow")


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
    from pipelines.serving.cluster import check_serving_places
    from pipelines.serving.settings import chosen_settings

    def read() -> tuple[ServeSettings, str | None]:
        return chosen_settings(settings, overrides or (), policy or ())

    chosen, first = read()
    check_serving_places(chosen, registry)
    namespace = f"salus-serve-{uuid.uuid4().hex[:8]}"
    if chosen.routed:
        _serve_routed(chosen, lambda: read()[0], registry, first, namespace)
    else:
        _serve_one(chosen, registry, first, namespace)


def _serve_one(chosen: ServeSettings, registry: Path, policy: str | None, namespace: str) -> None:
    from actors.contract.actor_address import ActorAddress
    from actors.serve.address import check_address
    from actors.serve.config import publisher_cpus
    from actors.serve.publisher.publisher import Publisher
    from actors.serve.replica.published import PolicyInActor
    from actors.serve.shadow.config import shadow_cpus
    from pipelines.feedback.uploads import uploading
    from pipelines.registry.stored import open_registry
    from pipelines.serving.cluster import serving_cluster
    from pipelines.serving.dashboard.actor import open_pages
    from pipelines.serving.follower import Follower, check_first
    from pipelines.serving.shadow.service import ShadowService

    store = open_registry(registry)
    store.entries()
    check_first(store, chosen.publish.url, policy, lambda version: chosen.publish)
    if chosen.cluster.joined is None:
        check_address(chosen.publish)
    shadow = ShadowService(chosen.shadow, store, chosen.publish, namespace, say)
    with (
        uploading([chosen.publish.feedback], say),
        serving_cluster(chosen, namespace, publisher_cpus(chosen.publish) + shadow_cpus(chosen.shadow)),
    ):
        # The actor lives as long as its handle.
        pages = open_pages(chosen.pages, store, chosen.publish, namespace) if chosen.pages is not None else None
        published = PolicyInActor(ActorAddress(namespace=namespace))
        address = pages[0] if pages is not None else None
        publisher = Publisher(chosen.publish, published, pages=address, shadow=shadow.start())
        follower = Follower(store, publisher, say, scheme=chosen.publish.scheme)
        try:
            follower.start(policy)
            say(f"{publisher.served_version()} at {publisher.url}/v1 until Ctrl-C")

            def step() -> None:
                follower.step()
                shadow.step()

            _until_told(chosen.poll_s, step)
        finally:
            follower.end()
            publisher.stop()
            shadow.stop()


def _serve_routed(
    chosen: ServeSettings, read_again: Callable[[], ServeSettings], registry: Path, first: str | None, namespace: str
) -> None:
    from actors.serve.address import check_address
    from pipelines.feedback.uploads import uploading
    from pipelines.serving.adapted import adapted_groups
    from pipelines.serving.cluster import serving_cluster
    from pipelines.serving.routed import check_some_start, routed_cpus, serving_together

    check_some_start(chosen, registry, first)
    if chosen.cluster.joined is None:
        check_address(chosen.publish)
    with (
        uploading(chosen.feedback(), say),
        adapted_groups(chosen, registry) as adapted,
        serving_cluster(chosen, namespace, routed_cpus(chosen, adapted)),
        serving_together(chosen, read_again, registry, first, namespace, say, adapted) as versions,
    ):
        served = ", ".join(f"{name}: {version}" for name, version in versions.items())
        say(f"{served} at {chosen.publish.url}/v1 until Ctrl-C")
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
    from pipelines.registry.stored import open_registry
    from pipelines.serving.rollback import roll_back

    change = roll_back(open_registry(registry), reason, wait, say)
    answer(change)
    say(f"{change.version} is current again (before: {change.previous or 'none'})")


def publish(
    recipe: RecipeName,
    model: Annotated[Path | None, typer.Option(help="A model folder; the run's last champion without it.")] = None,
    seed: Seed = None,
    overrides: Overrides = None,
    run: RunFolderOption = None,
) -> None:
    """Serve a policy behind /v1/chat/completions and /v1/models until Ctrl-C."""
    from actors.contract.actor_address import ActorAddress
    from actors.engine.tokenizer import check_chat_template
    from actors.serve.address import check_address
    from actors.serve.config import check_lengths
    from actors.serve.publisher.publisher import Publisher
    from actors.serve.replica.published import PolicyInActor
    from pipelines.cluster.plan import step_plan
    from pipelines.cluster.session import session
    from pipelines.feedback.uploads import uploading

    settings = resolve(recipe, overrides, seed)
    if not settings.publish.enabled:
        raise SalusError("The recipe's publish.enabled is false; add --set publish.enabled=true.")
    with ExitStack() as up:
        if model is not None:
            check_chat_template(model)
            policy = PolicyRef(version=model.absolute().name, path=str(model.absolute()))
        else:
            policy = up.enter_context(champion_of(settings, run))
        check_lengths(settings.publish, Path(policy.path))
        if settings.cluster.joined is None:
            check_address(settings.publish)
        namespace = f"salus-publish-{uuid.uuid4().hex[:8]}"
        up.enter_context(uploading([settings.publish.feedback], say))
        up.enter_context(session(settings, namespace, step_plan(settings, "publish")))
        publisher = Publisher(settings.publish, PolicyInActor(ActorAddress(namespace=namespace)))
        try:
            with started(settings, run, policy, publisher.url) if model is None else nullcontext():
                publisher.start(policy)
            console().print(f"{policy.version} at {publisher.url}/v1 until Ctrl-C", highlight=False)
            wait_for_ctrl_c()
        finally:
            publisher.stop()


@contextmanager
def started(recipe: Recipe, run: str | None, policy: PolicyRef, url: str) -> Iterator[None]:
    """In the audit log of the run's folder, or for a run at an address in the log below it."""
    from actors.serve.audit_log import AuditLog
    from actors.serve.publication_audit import PublicationAudit
    from pipelines.registry.stored import run_audit

    place = run_place(recipe, run)
    log = AuditLog(RunFolder(place).audit) if isinstance(place, Path) else run_audit(place)
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
    from pipelines.decision.ending import past_decisions
    from pipelines.runs.outcomes import past_outcomes

    outcomes = past_outcomes(folder, PolicyRef(version="", path=""), recipe.cycles)
    waiting = {each.policy for each in past_decisions(folder, recipe.cycles) if each.approval is not None}
    if not outcomes or not outcomes[-1].champion.path:
        raise SalusError(f"No cycle of {folder.root} has a new champion yet; run salus align first or give --model.")
    if outcomes[-1].champion.version in waiting:
        raise SalusError(
            f"{outcomes[-1].champion.version} of {folder.root} needs a person's approval (publish.approval). Give it"
            " with salus policy approve, and serve it from the registry with salus serve."
        )
    return outcomes[-1].champion


def report(
    recipe: RecipeName,
    folder: Annotated[Path, typer.Option("--folder", help="The endpoint's shadow.folder, or a copy of it.")],
    out: Annotated[
        Path | None, typer.Option(help="Where judgments and report go; judged-REGIMEN/ of the folder without it.")
    ] = None,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Have the recipe's judge label the live and the challenger's answer of every record, and compare them."""
    from pipelines.serving.shadow.judgments import read_records

    settings = resolve(recipe, overrides, seed, data, fetch=True)
    # Found before any model is built or any actor started.
    read_records(folder)

    from pipelines.judges.pool import judge_pool
    from pipelines.runs.materials import gather_judge
    from pipelines.serving.shadow.report import JUDGMENTS, REPORT, report_shadow, shadow_tables

    place = out or folder / f"judged-{settings.judge.regimen.lower()}"
    with reporter().live() as progress:
        weights = gather_judge(settings, progress)
        with judge_pool(settings, weights, progress) as judge_shards:
            found = report_shadow(settings, folder, place, weights, judge_shards)
    answer({"folder": place, "report": found})
    console().print(shadow_tables(found))
    say(f"{place}: {REPORT}, {JUDGMENTS}")
