"""`salus audit`: who published and rolled back what, and whether the log of it is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.console import console, error_console

BROKEN = 1


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus audit runs/demo-s7")(audit)


def audit(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A registry, or a run folder; the registry here without it.")
    ] = "registry",
    head: Annotated[
        str | None, typer.Option("--head", metavar="HASH", help="Of a line that must still be there, as printed then.")
    ] = None,
) -> None:
    """Show who published, promoted and rolled back what, and follow the log's chain of hashes; exits with 1 if broken.

    The chain shows a line that was changed, put in or taken out, not an end that was cut off: keep the printed hash
    of the last line somewhere else, and give it back as --head.
    """
    from actors.errors import SalusError
    from actors.serve.audit_log import AuditLog
    from actors.serve.publication_audit import outcomes
    from pipelines.registry.store import AUDIT
    from pipelines.report.audit_table import audit_table
    from pipelines.runs.store.place import local_folder

    path = local_folder(folder, "An audit log is read from") / AUDIT
    if not path.is_file():
        raise SalusError(f"There is no audit log {path}: nothing was published there, or name the folder it lies in.")
    log = AuditLog(path)
    entries, _ = log.readable()
    console().print(audit_table(outcomes(entries)))
    try:
        state = log.verify(head)
    except SalusError as error:
        error_console().print(f"salus: {error.sentence}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(BROKEN) from error
    torn = f", {state.torn} half lines of crashes" if state.torn else ""
    line = f"{state.entries} entries{torn}, each follows from the one before it; the last line's hash is {state.head}"
    console().print(line, markup=False, highlight=False, soft_wrap=True)
