"""The deeds of an audit log as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from actors.contract.untrusted import visible
from actors.serve.publication_audit import Outcome

_NO_OUTCOME = "not known"


def audit_table(deeds: Sequence[Outcome]) -> Table:
    """One row for each deed; what nobody wrote an outcome of may have been done or not."""
    table = Table(box=box.SIMPLE_HEAVY, pad_edge=False, collapse_padding=True)
    for column in ("at", "who", "did", "version", "before", "outcome", "why"):
        table.add_column(column, overflow="fold")
    for each in deeds:
        # Every text is somebody's: none is markup. Text drops some control characters unseen.
        table.add_row(*(Text(visible(text)) for text in _row(each)))
    return table


def _row(each: Outcome) -> tuple[str, ...]:
    began, deed = each.began, each.entry
    head = (began.time.isoformat(timespec="seconds"), began.who, began.action)
    if deed is None:
        return (*head, "", "", "", began.detail)
    outcome = deed.outcome if each.ended is not None else _NO_OUTCOME
    where = f" at {deed.endpoint}" if deed.endpoint is not None else ""
    why = ": ".join(text for text in (deed.reason, deed.fault) if text)
    return (*head, deed.version or "", deed.previous or "", outcome + where, why)
