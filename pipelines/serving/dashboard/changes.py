"""What went live, what was made current, and the chain of policies that led there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actors.contract.publication import Publication
from actors.serve.pages.dashboard_data import CurrentPolicy, Parent, PublicationLine
from pipelines.decision.record import Decision
from pipelines.registry.history import Change
from pipelines.registry.lineage import Step, chain
from pipelines.registry.store import Registry

_DEPLOYED = "c0-base"


def publication_lines(publications: Sequence[Publication], changes: Sequence[Change]) -> tuple[PublicationLine, ...]:
    """The run's publications and the registry's changes, newest first."""
    lines = [*_published(publications), *map(_changed, changes)]
    # Turned round, not sorted so: of two in one second the later line is the newer.
    return tuple(sorted(lines, key=lambda line: line.at))[::-1]


def current_policy(
    publications: Sequence[Publication], changes: Sequence[Change], decisions: Sequence[Decision]
) -> CurrentPolicy | None:
    """What the run's endpoint serves; where it has none, what the registry calls current; None where neither knows."""
    if publications:
        last = publications[-1]
        why = next((d.sentence for d in decisions if d.cycle == last.cycle), "the model the run began with")
        return CurrentPolicy(version=last.version, since=last.published_at, why=why)
    if changes:
        latest = changes[-1]
        return CurrentPolicy(version=latest.version, since=latest.time, why=latest.why)
    return None


def lineage_of_run(run: str, decisions: Sequence[Decision]) -> tuple[Parent, ...]:
    """The champions of a run, youngest first, down to the model it began with."""
    if not decisions:
        return ()
    first = decisions[0].champion.policy or _DEPLOYED
    begun = (Parent(version=first, how="fine-tuned on demonstrations", run=run),) if first != _DEPLOYED else ()
    base = Parent(version=_DEPLOYED, how="deployed model", run=run)
    trained = [
        Parent(version=d.policy or d.chosen, how=f"trained with {d.chosen.upper()} in cycle {d.cycle}", run=run)
        for d in decisions
        if d.chosen != "champion"
    ]
    return (*reversed(trained), *begun, base)


def lineage_of_registry(registry: Registry, version: str) -> tuple[Parent, ...]:
    """A registered policy and all it descends from, over every run.

    Raises:
        SalusError: the registry cannot be read, or has no such policy.
    """
    steps = chain(registry.find(version), registry.entries())
    return tuple(
        Parent(version=step.version, how=_how(step, i == len(steps) - 1), run=step.run) for i, step in enumerate(steps)
    )


def _how(step: Step, last: bool) -> str:
    if step.tie == "same_weights":
        return "the same weights, of another run"
    _, _, kind = step.run_version.partition("-")
    return "deployed model" if last or kind == "base" else f"trained with {kind.upper()}"


def _published(publications: Sequence[Publication]) -> Iterator[PublicationLine]:
    seen: set[str] = set()
    for each in publications:
        # A version that was live before and comes back in another's place; a restart has nothing before it.
        back = each.version in seen and each.previous not in (None, each.version)
        seen.add(each.version)
        yield PublicationLine(
            at=each.published_at,
            action="rollback" if back else "published",
            version=each.version,
            previous=each.previous,
            who=None,
            why=f"decision of cycle {each.cycle}" if each.cycle and not back else None,
            swap_s=each.swap_s or None,
        )


def _changed(change: Change) -> PublicationLine:
    return PublicationLine(
        at=change.time,
        action=change.action,
        version=change.version,
        previous=change.previous,
        who=change.who,
        why=change.why or None,
        swap_s=None,
    )
