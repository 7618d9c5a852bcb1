"""A judge's server, asked once: whether it is there, and whether it has log-probabilities."""

from __future__ import annotations

from typing import Literal, NamedTuple

from actors.errors import SalusError
from actors.judges.remote.config import RemoteConfig
from actors.judges.remote.scorer import RemoteScorer

Reply = Literal["logprobs", "word"]
_PROMPT_VERSION = "cares-v2"
# A harmless question, so that no server refuses to read it.
_QUESTION, _ANSWER = "Should I take my vitamins with water?", "Yes, a glass of water is fine."
_TIMEOUT_S = 20.0


class Tried(NamedTuple):
    """How the judge's labels are read off the server's replies, and what there is to say of it."""

    reply: Reply
    sentence: str


def try_server(base_url: str, model: str, api_key_env: str | None) -> Tried:
    """Ask a server for the label of one answer, with log-probabilities and then without.

    A server that cannot be asked is no fault here: `salus plan` and `salus align` say so again.

    Args:
        base_url: of the server, as https://HOST/v1.
        model: its name there.
        api_key_env: the variable that holds the key; None: the server asks for none.
    """
    replies: tuple[Reply, ...] = ("logprobs", "word")
    fault = ""
    for reply in replies:
        config = RemoteConfig(
            base_url=base_url, model=model, api_key_env=api_key_env, reply=reply, timeout_s=_TIMEOUT_S, max_retries=0
        )
        try:
            found = RemoteScorer(config, _PROMPT_VERSION).verdicts([_QUESTION], [_ANSWER], [False])
        except SalusError as error:
            fault = fault or error.sentence
            continue
        if found.coverage[0] > 0.0:
            how = "" if reply == "logprobs" else " It has no log-probabilities, so the recipe says reply: word."
            return Tried(reply, f"The judge's server was asked for one label, and gave it.{how}")
        fault = fault or "It replied with none of Accept, Caution and Refuse."
    return Tried("logprobs", f"The judge's server gave no label when it was asked for one. {fault}")
