"""The chain of parents: within a run by its decisions, from run to run by equal weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from actors.contract.records import Record
from pipelines.registry.entry import PolicyEntry

# parent: the next one was trained from it. same_weights: the run began with this policy of an earlier run.
Tie = Literal["itself", "parent", "same_weights"]


class Step(Record):
    """One policy of a chain, youngest first."""

    # As registered; as the run names it where its weights are gone.
    version: str
    run_version: str
    run: str
    registered: bool
    tie: Tie


def chain(entry: PolicyEntry, entries: Sequence[PolicyEntry]) -> tuple[Step, ...]:
    """A policy and all it descends from, over every run the registry knows."""
    known = {e.version for e in entries}
    steps = [_step(entry, "itself")]
    while True:
        steps += [
            Step(
                version=ancestor.version or ancestor.run_version,
                run_version=ancestor.run_version,
                run=entry.run_name,
                registered=ancestor.version in known,
                tie="parent",
            )
            for ancestor in entry.ancestors
        ]
        earlier = _begun_with(entry, entries)
        if earlier is None or any(step.version == earlier.version for step in steps):
            return tuple(steps)
        steps.append(_step(earlier, "same_weights"))
        entry = earlier


def _begun_with(entry: PolicyEntry, entries: Sequence[PolicyEntry]) -> PolicyEntry | None:
    """The trained policy whose weights the entry's run began with."""
    if entry.base.contents is None:
        return None
    weights = entry.base.contents.sha256
    return next((e for e in entries if e.origin.cycle and e.merged.contents.sha256 == weights), None)


def _step(entry: PolicyEntry, tie: Tie) -> Step:
    return Step(
        version=entry.version, run_version=entry.origin.run_version, run=entry.run_name, registered=True, tie=tie
    )
