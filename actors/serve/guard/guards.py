"""Which guard a replica asks, by its settings."""

from __future__ import annotations

from actors.contract.actor_address import ActorAddress
from actors.serve.guard.actor import RemoteGuard
from actors.serve.guard.config import GuardConfig
from actors.serve.guard.rules import RulesGuard, ScreenedGuard
from actors.serve.guard.screen import PhraseScreen
from actors.serve.guard.verdict import AnswerGuard


def answer_guard(config: GuardConfig, address: ActorAddress | None) -> AnswerGuard:
    """The guard that `config` describes; `address`: that of its model's actor, where it has one."""
    screen = PhraseScreen(config.harmful_phrases)
    if not config.has_engine:
        return RulesGuard(screen)
    assert address is not None
    remote = RemoteGuard(address, config.timeout_s)
    return ScreenedGuard(screen, remote) if config.harmful_phrases else remote
