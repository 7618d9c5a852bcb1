"""Guards by phrases and by the rules about refusals, and the choice between them and a model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from actors.contract.actor_address import ActorAddress
from actors.contract.untrusted import strip_invisible
from actors.judges.rules import refusal_label
from actors.serve.guard.actor import RemoteGuard
from actors.serve.guard.config import GuardConfig
from actors.serve.guard.model import AnswerGuard, JudgedExchange, Verdict

_WORD = re.compile(r"[^\W_]+")


class PhraseScreen:
    """Looks for phrases in requests, whatever their case, spaces, signs and invisible characters."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._phrases = tuple(words for phrase in phrases if (words := _words(phrase)).strip())

    def holds(self, request: str) -> bool:
        """Whether a request has one of the phrases in it."""
        words = _words(request)
        return any(phrase in words for phrase in self._phrases)


def _words(text: str) -> str:
    """The words of a text, folded, each between single spaces."""
    folded = unicodedata.normalize("NFKC", strip_invisible(text)).casefold()
    return f" {' '.join(_WORD.findall(folded))} "


class RulesGuard:
    """Unsafe: what is no refusal, to a request with a harmful phrase.

    The refusal rules look at how an answer begins: harm behind a refusal's first words passes.
    """

    def __init__(self, screen: PhraseScreen) -> None:
        self._screen = screen

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        return [self._verdict(exchange) for exchange in exchanges]

    def _verdict(self, exchange: JudgedExchange) -> Verdict:
        harmful = self._screen.holds(exchange.request)
        return "unsafe" if harmful and refusal_label(exchange.answer) != "Refuse" else "safe"


class ScreenedGuard:
    """Asks another guard about the answers to requests with a harmful phrase alone; others are safe."""

    def __init__(self, screen: PhraseScreen, guard: AnswerGuard) -> None:
        self._screen = screen
        self._guard = guard

    async def judge(self, exchanges: Sequence[JudgedExchange]) -> list[Verdict]:
        harmful = [place for place, exchange in enumerate(exchanges) if self._screen.holds(exchange.request)]
        verdicts: list[Verdict] = ["safe"] * len(exchanges)
        if harmful:
            found = await self._guard.judge([exchanges[place] for place in harmful])
            for place, verdict in zip(harmful, found, strict=True):
                verdicts[place] = verdict
        return verdicts


def answer_guard(config: GuardConfig, address: ActorAddress | None) -> AnswerGuard:
    """The guard that `config` describes; `address`: that of its model's actor, where it has one."""
    screen = PhraseScreen(config.harmful_phrases)
    if not config.has_engine:
        return RulesGuard(screen)
    assert address is not None
    remote = RemoteGuard(address, config.timeout_s)
    return ScreenedGuard(screen, remote) if config.harmful_phrases else remote
