"""Which guard a replica asks, by its settings."""

from __future__ import annotations

from actors.policy_desk import DeskAddress
from actors.serve_guard.actor import RemoteGuard
from actors.serve_guard.config import GuardConfig
from actors.serve_guard.rules import RulesGuard, ScreenedGuard
from actors.serve_guard.screen import PhraseScreen
from actors.serve_guard.verdict import AnswerGuard


def answer_guard(config: GuardConfig, address: DeskAddress | None) -> AnswerGuard:
    """The guard that `config` describes; `address`: that of its model's actor, where it has one."""
    screen = PhraseScreen(config.harmful_phrases)
    if not config.has_engine:
        return RulesGuard(screen)
    assert address is not None
    remote = RemoteGuard(address, config.timeout_s)
    return ScreenedGuard(screen, remote) if config.harmful_phrases else remote
