"""The exit codes of `salus`, in one table: `--help` prints it, and the READMEs repeat it."""

from __future__ import annotations

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """What a script may branch on."""

    DONE = 0
    FOUND = 1
    BAD_INPUT = 2
    INTERRUPTED = 130
    STOPPED = 128 + signal.SIGTERM


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FOUND: "done, and a check found a difference: `audit`, `runs audit`, `runs diff --exit-code`",
    ExitCode.BAD_INPUT: "bad input or a full disk: one sentence that says what, where, and the cure",
    ExitCode.INTERRUPTED: "Ctrl-C; the same command goes on where it stopped",
    ExitCode.STOPPED: "SIGTERM; the same command goes on where it stopped",
}


def epilog() -> str:
    """The table for `salus --help`; Rich's markup shows no backticks."""
    lines = [f"{code.value}: {meaning.replace('`', '')}" for code, meaning in MEANINGS.items()]
    return "Exit codes.\n\n" + "\n\n".join(lines)
