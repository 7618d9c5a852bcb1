"""The one error a user is meant to read, and how to find it and its cause in an error that crossed a process."""

from __future__ import annotations

import re
import textwrap

# How pydantic's ValidationError prints itself; from another process there is often only its text. The lines of one
# error are its place (none where it is of the whole), its message, indented, and an address that explains the kind.
_INVALID = re.compile(r"\d+ validation errors? for (?P<what>.+)$")
_GIVEN = re.compile(r" \[type=\w+, input_value=.*$")
_ADDRESS = "For further information visit "
# How one of ours ends a traceback.
_SENTENCE = "actors.errors.SalusError: "
# Characters of a message.
_LONGEST = 600


class SalusError(Exception):
    """A fault the user can mend; its text is one clear sentence and is shown without a traceback.

    The command line prints it and exits with code 2. It pickles by its text alone, so that it
    crosses a Ray actor boundary unchanged.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __reduce__(self) -> tuple[type[SalusError], tuple[str]]:
        return (type(self), (self.sentence,))


def own_error(error: BaseException) -> SalusError | None:
    """The SalusError that a remote call raised, which Ray hands on inside an error of its own; None for any other."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, SalusError) else None


def reason(error: BaseException) -> str:
    """What an error's text says its cause is (see `cause_in`); its type's name where it has no text."""
    return cause_in(str(error)) or type(error).__name__


def cause_in(text: str) -> str:
    """The cause that an error's text, perhaps with tracebacks, ends with: its last line; empty where it has none.

    Of a library's validation error it is the first setting that is wrong, and why; not what was given, and no address.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[-1].startswith(_SENTENCE):
        # The last of a chain says what the others mean.
        return lines[-1].removeprefix(_SENTENCE).strip()
    heads = [number for number, line in enumerate(lines) if _INVALID.search(line)]
    if heads and _ADDRESS in "".join(lines[heads[-1] :]):
        return _first_invalid(lines[heads[-1] :])
    said = [line for line in lines if _ADDRESS not in line]
    return said[-1].strip() if said else ""


def _first_invalid(lines: list[str]) -> str:
    """Of the lines of one validation error: `model.setting: message`."""
    head, *rest = lines
    found = _INVALID.search(head)
    setting = [found["what"].strip()] if found is not None else []
    message: list[str] = []
    for line in rest:
        if _ADDRESS in line:
            break
        if not message and _indent(line) <= _indent(head):
            setting.append(line.strip())
        else:
            message.append(line.strip())
        if _GIVEN.search(line):
            break
    said = _GIVEN.sub("", " ".join(message)).removeprefix("Value error, ")
    # vLLM lists all architectures it knows, for one it does not.
    return f"{'.'.join(setting)}: {textwrap.shorten(said, _LONGEST, placeholder=' ...')}"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
