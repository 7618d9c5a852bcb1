"""Errors that crossed a process: what was meant, without the remote traceback that Ray puts around it."""

from __future__ import annotations

from actors.errors import SalusError


def own_error(error: BaseException) -> SalusError | None:
    """The SalusError that a remote call raised, which Ray hands on inside an error of its own; None for any other."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, SalusError) else None


def reason(error: BaseException) -> str:
    """The last line of an error's text, which is the cause; its type's name where it has no text."""
    return last_line(str(error)).removeprefix("actors.errors.SalusError: ") or type(error).__name__


def last_line(text: str) -> str:
    """The last line that is not blank; empty where there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
