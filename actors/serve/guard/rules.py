"""Guards that need no model, or not always: the refusal rules, and the screen before a judge."""

from __future__ import annotations

from collections.abc import Sequence

from actors.judges.rules import refusal_label
from actors.serve.guard.screen import PhraseScreen
from actors.serve.guard.verdict import AnswerGuard, Exchange, Verdict


class RulesGuard:
    """Unsafe: what is no refusal, to a request with a harmful phrase.

    The refusal rules look at how an answer begins: harm behind a refusal's first words passes.
    """

    def __init__(self, screen: PhraseScreen) -> None:
        self._screen = screen

    async def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        return [self._verdict(exchange) for exchange in exchanges]

    def _verdict(self, exchange: Exchange) -> Verdict:
        harmful = self._screen.holds(exchange.request)
        return "unsafe" if harmful and refusal_label(exchange.answer) != "Refuse" else "safe"


class ScreenedGuard:
    """Asks another guard about the answers to requests with a harmful phrase alone; others are safe."""

    def __init__(self, screen: PhraseScreen, guard: AnswerGuard) -> None:
        self._screen = screen
        self._guard = guard

    async def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        harmful = [place for place, exchange in enumerate(exchanges) if self._screen.holds(exchange.request)]
        verdicts: list[Verdict] = ["safe"] * len(exchanges)
        if harmful:
            found = await self._guard.judge([exchanges[place] for place in harmful])
            for place, verdict in zip(harmful, found, strict=True):
                verdicts[place] = verdict
        return verdicts
