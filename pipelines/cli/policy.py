"""`salus policy`: the registry of published policies; `salus audit`: their log; `salus merge`: one made of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.exit_codes import ExitCode
from pipelines.cli.console.options import DryRun
from pipelines.cli.console.output import answer, console, error_console, say

RegistryFolder = Annotated[
    Path,
    typer.Option(
        "--registry", metavar="DIR|ADDRESS", help="The registry's folder, or an address as s3://BUCKET/REGISTRY."
    ),
]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="A registered version, or how it alone begins.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in history.jsonl.")]
DEFAULT = Path("registry")


def register(app: typer.Typer) -> None:
    policy = typer.Typer(
        help="The registry of published policies: versions, lineage, model cards, and which is current.",
        no_args_is_help=True,
    )
    policy.command("register", cls=FactsCommand, epilog="Example: salus policy register runs/demo-s7")(
        register_policies
    )
    policy.command("list", cls=FactsCommand, epilog="Example: salus policy list")(list_policies)
    policy.command(cls=FactsCommand, epilog="Example: salus policy show demo-s7-c1-dpo")(show)
    policy.command(cls=FactsCommand, epilog='Example: salus policy promote demo-s7-c1-dpo --reason "ERR halved"')(
        promote
    )
    policy.command(
        cls=FactsCommand,
        epilog='Example: salus policy approve demo-s7-c1-dpo --by "Dr A. Weber" --reason "read its decision page"',
    )(approve)
    policy.command(cls=FactsCommand, epilog='Example: salus policy rollback --reason "too many refusals"')(rollback)
    policy.command(cls=FactsCommand, epilog="Example: salus policy export demo-s7-c1-dpo models/clinic")(export)
    policy.command(cls=FactsCommand, epilog="Example: salus policy push demo-s7-c1-dpo clinic/assistant --dry-run")(
        push
    )
    app.add_typer(policy, name="policy")
    app.command(cls=FactsCommand, epilog="Example: salus audit runs/demo-s7")(audit)
    app.command(
        cls=FactsCommand,
        epilog="Example: salus merge models/one --base models/mine --policy kto/adapter --policy dpo/adapter",
    )(merge)


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    base: Annotated[
        Path, typer.Option("--base", metavar="DIR", help="The model folder that the policies were trained from.")
    ],
    policy: Annotated[
        list[str],
        typer.Option("--policy", metavar="DIR[=WEIGHT]", help="An adapter or a whole model; at least two."),
    ],
    method: Annotated[str, typer.Option(help="linear, ties, dare_linear or dare_ties.")] = "linear",
    density: Annotated[float, typer.Option(help="Share of each update that ties and dare keep.")] = 0.5,
    sign: Annotated[str, typer.Option(help="Whose sign wins in ties: total or frequency.")] = "total",
    rank: Annotated[
        int | None, typer.Option(min=1, help="Rank of the merged adapter, but of linear (the sum of the ranks).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides what dare drops.")] = 7,
) -> None:
    """Merge adapters or whole models of one base into a policy: a Hugging Face folder, with merge.json in it.

    Adapters also give a merged adapter. Weights are such that a mean comes of it, where none are given.
    """
    from pydantic import ValidationError

    from actors.training.merging.config import MergeSettings
    from pipelines.alignment.training.folders import merge_folders, weighed_policy
    from pipelines.config.faults import fault_text

    given = {"method": method, "density": density, "sign": sign, "rank": rank}
    try:
        settings = MergeSettings.model_validate(given)
    except ValidationError as error:
        raise SalusError(fault_text(MergeSettings, given, error, "The merge")) from error
    made = merge_folders(settings, base.expanduser(), [weighed_policy(each) for each in policy], seed, out.expanduser())
    shares = ", ".join(f"{each.weight:.3g} of {each.folder}" for each in made.policies)
    answer(made)
    say(f"{out}: {method} of {shares}, on {made.base}")


def register_policies(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, finished or running.")],
    version: Annotated[
        str | None, typer.Option(help="One published version of the run, as c1-dpo; all of them without it.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the versions begin with (the recipe's name).")] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy the weights into the registry; else they stay in the run folder.")
    ] = False,
    registry: RegistryFolder = DEFAULT,
) -> None:
    """Register every policy a run has published; what is registered already is kept."""
    from pipelines.registry.register import RegisterOptions, register_run
    from pipelines.registry.stored import open_registry
    from pipelines.runs.store.place import local_folder

    root = local_folder(run, "The registry keeps references to weights and needs")
    done = register_run(root, open_registry(registry), RegisterOptions(version=version, name=name, copy=copy))
    answer(done)
    for each in done:
        say(f"{each.run_version}: {each.state.replace('_', ' ')}, {each.version or each.note}")


def list_policies(registry: RegistryFolder = DEFAULT) -> None:
    """Every registered policy with its run, cycle, algorithm and figures, and which one is current."""
    from pipelines.registry.stored import open_registry
    from pipelines.registry.tables import policies_table

    store = open_registry(registry)
    history, entries = store.history, store.entries()
    answer({"policies": entries, "current": history.current(), "approvals": history.approvals()})
    console().print(policies_table(entries, history.current(), history.approvals()))


def show(version: Version, registry: RegistryFolder = DEFAULT) -> None:
    """Everything the registry knows of a policy, and the chain of its parents."""
    from pipelines.registry.lineage import chain
    from pipelines.registry.stored import open_registry
    from pipelines.registry.tables import policy_page

    store = open_registry(registry)
    entry = store.find(version)
    answer(entry)
    approval = store.history.approvals().get(entry.version)
    console().print(policy_page(entry, chain(entry, store.entries()), store.history.current(), approval))


def promote(version: Version, registry: RegistryFolder = DEFAULT, reason: Reason = "") -> None:
    """Make a policy the current one, once its weights are found to be those that were registered."""
    from pipelines.registry.stored import open_registry

    change = open_registry(registry).promote(version, reason)
    answer(change)
    say(f"{change.version} is current (before: {change.previous or 'none'})")


def approve(
    version: Version,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="The person who approves.")] = "",
    reason: Reason = "",
    registry: RegistryFolder = DEFAULT,
) -> None:
    """Approve a policy whose run asked for that (publish.approval), and make it the current one.

    Name and reason are kept in history.jsonl and audit.jsonl. Endpoints that follow the registry then serve it.
    """
    from pipelines.registry.stored import open_registry

    change = open_registry(registry).approve(version, by, reason)
    answer(change)
    say(f"{change.version} is approved by {change.approved_by} and current (before: {change.previous or 'none'})")


def rollback(registry: RegistryFolder = DEFAULT, reason: Reason = "") -> None:
    """Go back to the policy that was current before the last promotion that still holds."""
    from pipelines.registry.stored import open_registry

    change = open_registry(registry).rollback(reason)
    answer(change)
    say(f"{change.version} is current again (before: {change.previous or 'none'})")


def export(
    version: Version,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    adapter: Annotated[bool, typer.Option("--adapter", help="One LoRA adapter on the deployed model.")] = False,
    registry: RegistryFolder = DEFAULT,
) -> None:
    """Write a policy's merged safetensors folder, or its adapter, once every file has its registered hash.

    The adapter is those of all cycles the policy comes from, as one; PEFT and vLLM load it on the deployed model.
    """
    from pipelines.registry.export import export_policy
    from pipelines.registry.stored import open_registry

    entry = export_policy(open_registry(registry), version, out, "adapter" if adapter else "merged")
    answer({"policy": entry, "folder": out, "adapter": adapter})
    say(f"{entry.version} in {out}: {'its adapter' if adapter else 'merged weights'} and model card")


def push(
    version: Version,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="A repository of the hub, as ORGANISATION/NAME.")],
    adapter: Annotated[
        bool, typer.Option("--adapter", help="One LoRA adapter on the deployed model, and no merged weights.")
    ] = False,
    both: Annotated[
        bool, typer.Option("--both", help="Merged weights, and the adapter in the folder adapter/.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Anyone may download it; else it is private.")] = False,
    dry_run: DryRun = False,
    license_: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="The licence on the card (the deployed model's).")
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option("--base-model", metavar="ID", help="The deployed model on the hub, where the run had a folder."),
    ] = None,
    registry: RegistryFolder = DEFAULT,
) -> None:
    """Upload a policy to the hub: weights, tokenizer, chat template and model card. Private unless --public is given.

    The hub is that of HF_ENDPOINT. The token is HF_TOKEN, or that of hf auth login. A policy that awaits approval is
    refused. A repository that is there with another visibility is refused too.
    """
    from pipelines.cli.console.hub import push_shown
    from pipelines.registry.cards.head import Stated
    from pipelines.registry.push import PushOptions, policy_push, push_policy
    from pipelines.registry.stored import open_registry
    from pipelines.runs.finished.hub.upload import check_client

    if adapter and both:
        raise SalusError("Give --adapter or --both, not the two.")
    if not dry_run:
        check_client()
    options = PushOptions(
        form="both" if both else "adapter" if adapter else "merged",
        public=public,
        stated=Stated(base_model=base_model, license=license_),
    )
    store = open_registry(registry)
    entry = store.find(version)
    with policy_push(store, entry.version, repo, options) as made:
        push_shown(made, dry_run, lambda: push_policy(store, entry.version, made))


def audit(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR|ADDRESS", help="A registry or its address, or a run folder; the registry here without it."
        ),
    ] = "registry",
    head: Annotated[
        str | None, typer.Option("--head", metavar="HASH", help="Of a line that must still be there, as printed then.")
    ] = None,
) -> None:
    """Show who published, promoted and rolled back what, and follow the log's chain of hashes; exits with 1 if broken.

    The chain shows a line that was changed, put in or taken out, not an end that was cut off. Keep the printed hash of
    the last line somewhere else, and give it back as --head.
    """
    from actors.errors import SalusError
    from actors.serve.audit_log import AuditLog
    from actors.serve.publication_audit import outcomes
    from pipelines.registry.store import AUDIT
    from pipelines.registry.stored import StoredRegistry
    from pipelines.registry.tables import audit_log_table
    from pipelines.runs.store.place import RemotePlace, place_of

    place = place_of(folder)
    if isinstance(place, RemotePlace):
        store = StoredRegistry(place)
        store.prepare()
        log: AuditLog = store.log
        there = (store.root / AUDIT).is_file()
    else:
        log = AuditLog(place / AUDIT)
        there = (place / AUDIT).is_file()
    if not there:
        raise SalusError(f"There is no audit log {place}/{AUDIT}: nothing was published there, or name its folder.")
    entries, _ = log.readable()
    found = outcomes(entries)
    console().print(audit_log_table(found))
    try:
        state = log.verify(head)
    except SalusError as error:
        answer({"outcomes": found, "intact": False, "fault": error.sentence})
        error_console().print(f"salus: {error.sentence}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(ExitCode.FOUND) from error
    torn = f", {state.torn} half lines of crashes" if state.torn else ""
    answer({"outcomes": found, "intact": True, **state._asdict()})
    say(f"{state.entries} entries{torn}, each follows from the one before it; the last line's hash is {state.head}")
