"""What a guard is asked and what it says, and the port behind which rules and models are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from actors.contract.records import Record
from actors.errors import SalusError

# "unknown": the model gave none of its words enough probability: missing, never a guess.
Verdict = Literal["safe", "unsafe", "unknown"]


class Exchange(Record):
    """One request and one answer to it, as texts."""

    request: str
    answer: str
    # The answer ended at its length limit.
    cut_off: bool = False


class GuardUnavailable(SalusError):
    """The guard could not be asked, or did not answer."""


class AnswerGuard(Protocol):
    """Whatever can say of answers whether they may go out."""

    async def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """A verdict on each; raises GuardUnavailable."""
