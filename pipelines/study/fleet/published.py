"""What a fleet's runs published: registered, promoted where the fleet says so, and served side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from actors.errors import SalusError
from actors.files.shards import write_text
from actors.serve.config import PublisherConfig
from actors.serve.router.fits import EngineSettings
from pipelines.cluster.progress import Reporter
from pipelines.registry.register import Registration, register_run
from pipelines.registry.store import Registry
from pipelines.runs.several import FleetFolder
from pipelines.study.fleet.config import FleetConfig
from pipelines.study.fleet.member import Member


@dataclass(frozen=True)
class RegisteredPolicy:
    """What is registered of one policy's run."""

    member: Member
    registry: Path
    # Of the last policy that the run let go live, or that awaits approval.
    version: str
    needs_approval: bool
    # The version that is current in its registry.
    current: str | None


def register_policies(
    fleet: FleetConfig, members: Sequence[Member], reporter: Reporter
) -> tuple[RegisteredPolicy, ...]:
    """Register what these runs published, and promote the newest of each where the fleet says so.

    A registry that cannot be written is told, and is no other policy's business. A version that was current before is
    not promoted again, as a person may have rolled it back.

    Args:
        fleet: its settings.
        members: the runs that are complete.
        reporter: takes a line for each that is new, and for each that cannot be registered.
    """
    registries = {policy.name: fleet.registry_of(policy) for policy in fleet.policies}
    done = []
    for member in members:
        root = registries[member.name]
        if root is None:
            continue
        try:
            done.append(_registered(member, Registry(root), fleet.promote, reporter))
        except SalusError as error:
            reporter.say(f"policy {member.name} is not registered: {error.sentence}")
    return tuple(done)


def _registered(member: Member, registry: Registry, promote: bool, reporter: Reporter) -> RegisteredPolicy:
    found = [each for each in register_run(member.run.root, registry) if each.version is not None]
    last = _newest(found)
    assert last.version is not None
    if any(each.state == "new" for each in found):
        reporter.say(f"policy {member.name}: {last.version} is in {registry.root}")
    before = {change.version for change in registry.history.changes()}
    if promote and not last.needs_approval and last.version not in before:
        registry.promote(last.version, f"the newest policy of fleet run {member.name}")
    return RegisteredPolicy(member, registry.root, last.version, last.needs_approval, registry.history.current())


def _newest(found: Sequence[Registration]) -> Registration:
    """The last that needs no approval, as it may be served; where all do, the last."""
    free = [each for each in found if not each.needs_approval]
    return (free or found)[-1]


def write_serving(published: Sequence[RegisteredPolicy], folder: FleetFolder) -> None:
    """Settings of `salus serve`: each policy by its name, following its own registry, with the engine it needs."""
    policies = {
        each.member.name: {
            "registry": str(each.registry),
            "publish": _engine(each.member.recipe.publish).model_dump(exclude_none=True),
        }
        for each in published
    }
    if policies:
        write_text(yaml.safe_dump({"policies": policies}, sort_keys=False), folder.serving)


def _engine(publish: PublisherConfig) -> EngineSettings:
    """What a recipe says of its endpoint's engine, as far as that is not the default."""
    default = PublisherConfig()
    said = {name: getattr(publish, name) for name in EngineSettings.model_fields}
    return EngineSettings(**{name: value for name, value in said.items() if value != getattr(default, name)})
