"""The processes of a run that this process started, found by what Ray calls them."""

from __future__ import annotations

import psutil


def processes(title: str) -> list[psutil.Process]:
    """Those with `title` in their command line; there must be one."""
    found = running(title)
    assert found, title
    return found


def running(title: str) -> list[psutil.Process]:
    """Those with `title` in their command line, if any."""
    return [p for p in psutil.Process().children(recursive=True) if title in _title(p)]


def _title(process: psutil.Process) -> str:
    try:
        return "".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
