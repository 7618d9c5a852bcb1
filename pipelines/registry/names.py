"""Names in a registry: they become folders, so they are held to letters, digits, dots, hyphens and underscores."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import StringConstraints

from actors.contract.records import CHALLENGER_PATTERN, LONGEST_CHALLENGER, ChallengerName, Record
from actors.contract.run_folder import RESERVED, SFT, SFT_CYCLE
from actors.errors import SalusError

LONGEST = 120
# As the name of a recipe; it begins with a letter or digit, so no name is hidden, `.` or `..`.
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
PolicyName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=LONGEST)]
# Of the weights' hash in a version: tells policies of two runs with one recipe and seed apart.
HASH_DIGITS = 8

_RUN_VERSION = re.compile(rf"c(?P<cycle>0|[1-9][0-9]{{0,5}})-(?P<name>{CHALLENGER_PATTERN})")
_BASE = "base"


class RunVersion(Record):
    """A version as a run names it (`c0-base`, `c2-kto`), taken apart."""

    text: str
    cycle: int
    # None: the model the run began with.
    challenger: ChallengerName | None


def check_name(name: str) -> str:
    """The name itself.

    Raises:
        SalusError: it could not be a folder's name on every system, or could leave the registry.
    """
    if len(name) > LONGEST or re.fullmatch(NAME_PATTERN.strip("^$"), name) is None:
        raise SalusError(
            f"{name[:LONGEST]!r} is no name for policies; give one of at most {LONGEST} small letters, digits, dots,"
            " hyphens and underscores that begins with a letter or digit."
        )
    return name


def read_run_version(text: str, where: str) -> RunVersion:
    """A run's version taken apart.

    Raises:
        SalusError: no run of Salus names a policy so; `where` is the file that does.
    """
    found = _RUN_VERSION.fullmatch(text)
    if found is None or not _possible(found["name"], int(found["cycle"])):
        raise SalusError(f"{where} names a policy {text[:LONGEST]!r}, which no run makes; was it changed by hand?")
    return RunVersion(
        text=text, cycle=int(found["cycle"]), challenger=None if found["name"] == _BASE else found["name"]
    )


def _possible(name: str, cycle: int) -> bool:
    if cycle == SFT_CYCLE:
        return name in (_BASE, SFT)
    return len(name) <= LONGEST_CHALLENGER and name not in RESERVED


def policy_version(name: str, seed: int, run_version: str, weights_sha256: str) -> str:
    """The version of a policy in every registry, as `demo-s7-c1-dpo-1a2b3c4d`."""
    return f"{name}-s{seed}-{run_version}-{weights_sha256[:HASH_DIGITS]}"
