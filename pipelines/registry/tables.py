"""The registry as a person reads it: one row a policy, one policy in full, and who published what."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from actors.contract.untrusted import visible
from actors.serve.publication_audit import Outcome
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.figures import in_words, judge_figures, short, validation_figures
from pipelines.registry.history import Change
from pipelines.registry.lineage import Step
from pipelines.report.cells import NOTHING, narrow_table

TIES = {"itself": "", "parent": "trained from ", "same_weights": "the same weights as "}
_NO_OUTCOME = "not known"


def policies_table(entries: Sequence[PolicyEntry], current: str | None, approved: Collection[str]) -> Table:
    """One row per policy: version, run, cycle, algorithm, SS and ERR of its decision, and which is current.

    Args:
        entries: the policies.
        current: the version that is current.
        approved: versions that a person approved.
    """
    table = narrow_table("version", "run", "cycle", "algorithm", "SS", "ERR", "current")
    for entry in entries:
        waits = "awaits approval" if entry.needs_approval and entry.version not in approved else ""
        mark = "current" if entry.version == current else waits
        figures = (short(entry, field) for field in ("ss", "err_strict"))
        cells = (
            entry.version,
            entry.run_name,
            str(entry.origin.cycle),
            entry.origin.algorithm or NOTHING,
            *(f"{figure.value:.3f}" if figure is not None else NOTHING for figure in figures),
            mark,
        )
        table.add_row(*map(Text, cells), style="bold" if entry.version == current else None)
    return table


def policy_page(entry: PolicyEntry, steps: Sequence[Step], current: str | None, approval: Change | None) -> Group:
    """Everything of one policy, who approved it, its figures, and the chain of its parents."""
    facts = narrow_table("", "")
    facts.show_header = False
    for name, value in _facts(entry, current):
        facts.add_row(Text(name), Text(value, overflow="fold"))
    facts.add_row(Text("approval"), Text(told_approval(entry, approval), overflow="fold"))
    parts: list[RenderableType] = [facts]
    if entry.validation is not None:
        figures = narrow_table("validation split", "95 % interval, n")
        for name, interval in validation_figures(entry.validation):
            figures.add_row(Text(name), Text(in_words(interval)))
        parts += [figures, Text(entry.validation.sentence), Text(entry.validation.publish_sentence)]
    parts += [Text("\nchain of parents"), *_chain(steps)]
    return Group(*parts)


def told_approval(entry: PolicyEntry, approval: Change | None) -> str:
    """Who approved a policy, when and why."""
    if approval is not None:
        return f"approved by {approval.approved_by} at {approval.time}: {approval.why}"
    return "awaits approval" if entry.needs_approval else "none asked for"


def _facts(entry: PolicyEntry, current: str | None) -> Iterator[tuple[str, str]]:
    origin, judge = entry.origin, entry.judge
    yield "version", entry.version + (" (current)" if entry.version == current else "")
    yield "registered", entry.registered_at
    yield "run", origin.run
    yield "recipe", f"{origin.recipe}, seed {origin.seed}, SHA-256 {origin.recipe_sha256}"
    yield "run hash", origin.run_hash or "not finished"
    yield "made in", f"cycle {origin.cycle}" + (f" by {origin.algorithm.upper()}" if origin.algorithm else "")
    yield "parent", entry.parent or NOTHING
    base = entry.base
    yield "deployed model", f"{base.source}: {base.hub_id or base.folder or 'unknown'}"
    yield "its hash", base.contents.sha256 if base.contents is not None else "unknown"
    yield "weights", f"{entry.merged.folder or 'copied into the registry'} ({entry.merged.contents.size} bytes)"
    yield "their hash", entry.merged.contents.sha256
    yield "adapter's hash", entry.adapter.contents.sha256 if entry.adapter is not None else NOTHING
    if entry.data is not None:
        levels = ", ".join(f"level {level}: {n}" for level, n in entry.data.rows_by_level.items())
        yield "rows", f"{entry.data.n} ({levels}), SHA-256 {entry.data.rows.sha256}"
    yield "judge", f"{judge.regimen}, {judge.name or NOTHING}, prompt {judge.prompt or NOTHING}"
    if judge.trust is not None:
        yield "trust", judge.trust.note
    if judge.figures is not None:
        yield "held against", f"{judge.figures.labels_source}, n {judge.figures.n}"
        yield from ((f"its {name}", in_words(interval)) for name, interval in judge_figures(judge.figures))
    for publication in entry.publications:
        yield "went live", f"{publication.published_at} (cycle {publication.cycle}, replicas {publication.replicas})"
    packages = ", ".join(f"{name} {version}" for name, version in origin.packages.items())
    yield "packages", f"Python {origin.python} on {origin.machine}, {packages}"
    yield "revision", origin.git_revision or "unknown"


def _chain(steps: Sequence[Step]) -> Iterator[Text]:
    for step in steps:
        absent = "" if step.registered else ", not in the registry"
        yield Text(f"  {TIES[step.tie]}{step.version} (run {step.run}{absent})")


def audit_log_table(deeds: Sequence[Outcome]) -> Table:
    """One row for each deed; a deed without a written outcome may have been done or not."""
    table = narrow_table("at", "who", "did", "version", "before", "outcome", "why")
    for each in deeds:
        # Every text comes from a person: none is markup. Text drops some control characters unseen.
        table.add_row(*(Text(visible(text)) for text in _row(each)))
    return table


def _row(each: Outcome) -> tuple[str, ...]:
    began, entry = each.began, each.entry
    head = (began.time.isoformat(timespec="seconds"), began.who, began.action)
    if entry is None:
        return (*head, "", "", "", began.detail)
    outcome = entry.outcome if each.ended is not None else _NO_OUTCOME
    where = f" at {entry.endpoint}" if entry.endpoint is not None else ""
    why = ": ".join(text for text in (entry.reason, entry.fault) if text)
    return (*head, entry.version or "", entry.previous or "", outcome + where, why)
