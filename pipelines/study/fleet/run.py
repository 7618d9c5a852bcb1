"""A fleet, read aloud: one Ray up, all policies as there is room, Ray down, and what they published registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actors.errors import SalusError
from actors.files.private import private_files
from pipelines.cluster.progress import Reporter
from pipelines.config.load import load_recipe, save_recipe
from pipelines.runs.lease.lease import hold
from pipelines.runs.several import FleetFolder
from pipelines.study.fleet.config import FleetConfig, FleetPolicy
from pipelines.study.fleet.member import Failure, Member, check_folder, open_members, unfinished
from pipelines.study.fleet.published import RegisteredPolicy, register_policies, write_serving
from pipelines.study.fleet.together import SharedCost, divided, read_cost, run_together


@dataclass(frozen=True)
class FleetReport:
    """What became of a fleet, in the order of its policies."""

    members: tuple[Member, ...]
    failures: dict[str, Failure]
    published: tuple[RegisteredPolicy, ...]
    cost: SharedCost


def fleet_root(fleet: FleetConfig, run: Path | None) -> Path:
    """Where a fleet is: as told, or `runs/NAME`."""
    return run or Path("runs") / fleet.name


def members_of(fleet: FleetConfig, folder: FleetFolder) -> tuple[Member, ...]:
    """All policies as runs.

    Raises:
        SalusError: a policy's settings do not make a recipe; names the policy.
    """
    return tuple(_member(fleet, policy, folder) for policy in fleet.policies)


def _member(fleet: FleetConfig, policy: FleetPolicy, folder: FleetFolder) -> Member:
    # One endpoint serves all of them afterwards; endpoints of the runs would fight for one port.
    own = [f"name={policy.name}", "publish.enabled=false"]
    own += [f"seed={policy.seed}"] if policy.seed is not None else []
    own += [f"data.path={policy.data}"] if policy.data is not None else []
    try:
        recipe = load_recipe(policy.recipe or fleet.recipe or "", [*fleet.set, *policy.set, *own])
    except SalusError as error:
        raise SalusError(f"Policy {policy.name} of fleet {fleet.name}: {error.sentence}") from error
    return Member(
        name=policy.name,
        recipe=recipe.model_copy(update={"cluster": fleet.cluster}),
        run=folder.run(policy.name),
        weight=policy.weight,
        priority=policy.priority,
    )


@private_files()
def run_fleet(fleet: FleetConfig, root: Path, reporter: Reporter, fresh: bool = False) -> FleetReport:
    """Align all policies of a fleet, or what is left of them, and register what they published.

    A policy that fails stops no other; the report names it, and the same call goes on with it.

    Args:
        fleet: its settings.
        root: the fleet's folder; runs that are complete there are not started.
        reporter: is told how far each is.
        fresh: forget what the runs hold.

    Raises:
        SalusError: whatever the user can mend, before anything costly where that can be known. Also where another
            process is at work in the folder, or has taken it over.
    """
    folder = FleetFolder(root)
    members = members_of(fleet, folder)
    # Nothing is left in a folder of something else, not even a lease.
    check_folder(folder, "fleet")
    with hold(folder.root, fleet.cluster.lease_s, reporter.say) as lease:
        open_members(folder, members, fleet.cluster.lease_s, reporter, fresh)
        save_recipe(fleet, folder.settings)
        failures = {}
        if left := unfinished(members, reporter):
            division = divided(left, fleet.side_by_side, fleet.share)
            failures = run_together(division, folder, fleet.cluster, reporter, lease)
        published = register_policies(fleet, [each for each in members if each.complete], reporter)
        write_serving(published, folder)
        return FleetReport(members, failures, published, read_cost(folder))
