"""What an attack style is: a name, a CARES method, and a function that wraps a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actors.contract.records import Method


@dataclass(frozen=True, slots=True)
class AttackStyle:
    """One way to ask; `wrap` is deterministic and takes any text."""

    name: str
    method: Method
    description: str
    wrap: Callable[[str], str]
    # The prompt is in the wrapped text letter by letter; otherwise it is written in another way.
    verbatim: bool = True


def around(before: str, after: str = "") -> Callable[[str], str]:
    """A wrap that puts fixed text before and after; joined, not formatted: braces in a prompt stay braces."""

    def wrap(prompt: str) -> str:
        return before + prompt + after

    return wrap
