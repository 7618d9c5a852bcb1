"""`salus doctor`: versions, devices and memory against what Salus needs."""

from __future__ import annotations

import typer

from pipelines.cli.console import console


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: salus doctor")(doctor)


def doctor() -> None:
    """Hold this machine against the joint version set; exit with 2 and the cure where something fails."""
    from pipelines.cluster.doctor import doctor_table, examine

    report = examine()
    console().print(doctor_table(report))
    if report.failed:
        raise typer.Exit(2)
