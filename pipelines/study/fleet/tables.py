"""What `salus fleet` prints: who starts when and with what, before; what became of each, afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from pipelines.runs.several import FleetFolder
from pipelines.runs.summary import Measured, complete_summary
from pipelines.study.fleet.division import Division, Room, pool_room
from pipelines.study.fleet.member import Member
from pipelines.study.fleet.run import FleetReport


def division_table(division: Division, title: str) -> Table:
    """Every member in the order in which they start, with what it needs; and what is there once.

    Those that start later wait for room.
    """
    first = {member.name: member for member in division.starting([member.name for member in division.members], ())}
    table = Table(title=title, title_justify="left", caption_justify="left", caption=_caption(division))
    for name in ("policy", "starts"):
        table.add_column(name, no_wrap=True)
    for name in ("priority", "weight", "generators", "CPUs", "GPUs", "memory"):
        table.add_column(name, justify="right")
    table.add_row("Ray", "now", "", "", "", *_figures(division.base(())))
    for pool in division.pools:
        table.add_row(f"{pool.kind} of {', '.join(pool.names)}", "now", "", "", "", *_figures(pool_room(pool)))
    table.add_section()
    for each in division.order:
        member = first.get(each.name, each)
        own = "shared_generators" not in division.shared(member)
        generators = str(member.recipe.generate.actors) if own else "shared"
        settings = (str(member.priority), f"{member.weight:g}", generators)
        when = "now" if each.name in first else "later"
        table.add_row(member.name, when, *settings, *_figures(division.needs(member)))
    return table


def _caption(division: Division) -> str:
    there = division.there
    cpus = "as many CPU slots as are asked for" if there.cpus is None else f"{there.cpus:g} CPUs"
    return f"{there.where} has {cpus}, {there.gpus:g} GPUs and {there.memory_gib:g} GiB of memory."


def _figures(room: Room) -> tuple[str, ...]:
    return tuple(f"{figure:.3g}" if figure else "-" for figure in room)


def report_table(report: FleetReport) -> Table:
    """Every policy: its state, the last champion, and its figures on the test split before and after."""
    table = Table(title="Policies", title_justify="left")
    for name in ("policy", "state", "champion", "SS before", "SS after", "ERR before", "ERR after", "registered"):
        table.add_column(name)
    registered = {each.member.name: each for each in report.published}
    for member in report.members:
        entry = registered.get(member.name)
        table.add_row(member.name, *_outcome(member, report), entry.version if entry is not None else "-")
    return table


def _outcome(member: Member, report: FleetReport) -> tuple[str, ...]:
    summary = complete_summary(member.run.summary, member.recipe.cycles)
    if summary is None:
        return ("failed" if member.name in report.failures else "unfinished", *["-"] * 5)
    base, champion = summary.test.base, summary.test.champion
    measured = (base.ss, champion.ss, base.err_strict, champion.err_strict)
    return ("complete", summary.cycles[-1].champion, *map(_mean, measured))


def _mean(measured: Measured | None) -> str:
    return f"{measured.value:.3f}" if measured is not None else "-"


def next_lines(report: FleetReport, folder: FleetFolder) -> Iterator[str]:
    """How what was published is served; nothing where nothing is registered."""
    for each in report.published:
        if each.needs_approval:
            by = "--by NAME --reason TEXT"
            yield f"{each.version} awaits approval: salus policy approve {each.version} --registry {each.registry} {by}"
        elif each.current is None:
            yield f"salus policy promote {each.version} --registry {each.registry}"
    if report.published:
        yield f"all policies side by side: salus serve --settings {folder.serving}"
