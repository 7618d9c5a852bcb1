"""The settings of a judge behind a server; apart from it, because its client takes a second to import."""

from __future__ import annotations

import os
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from actors.errors import SalusError


class RemoteConfig(BaseModel):
    """The server, the model, how fast it may be asked and what it charges.

    The key is read from the environment of the process that asks. So on a cluster the variable must be set where Ray's
    nodes start. The key is in no recipe, record or message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(pattern=r"^https?://[^@\s]+$", description="the server, up to and with /v1")
    model: str = Field(min_length=1, description="the model's name at the server")
    api_key_env: str | None = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="environment variable that holds the key; None: the server asks for none",
    )
    reply: Literal["logprobs", "word"] = Field(
        "logprobs", description="word: for servers without log-probabilities; a label is then sure or missing"
    )
    top_logprobs: int = Field(
        20, ge=3, le=20, description="likeliest first tokens asked for, among which the labels are looked for"
    )
    concurrency: int = Field(8, ge=1, description="requests under way at once, of one judge actor")
    requests_per_minute: float | None = Field(None, gt=0, description="of all judge actors together; None: no limit")
    timeout_s: float = Field(60.0, gt=0, description="of one request")
    max_retries: int = Field(
        5, ge=0, description="after 408, 409, 429, 5xx and timeouts, waiting 0.5 s doubled up to 8 s, or Retry-After"
    )
    max_characters: int = Field(24_000, ge=200, description="request and answer together; longer ones are cut")
    usd_per_million_prompt_tokens: float = Field(
        0.0, ge=0, description="the server's price of requests, for reports of the cost; nothing is limited by it"
    )
    usd_per_million_completion_tokens: float = Field(
        0.0, ge=0, description="the server's price of replies, likewise for reports"
    )

    @property
    def judge_name(self) -> str:
        """The judge's name in records and folders."""
        return "remote-" + re.sub(r"[^A-Za-z0-9._-]+", "-", self.model)

    def key(self) -> str:
        """The server's key, from this process' environment; "none" where it asks for none.

        Raises:
            SalusError: the variable is not set.
        """
        key = os.environ.get(self.api_key_env, "").strip() if self.api_key_env is not None else "none"
        if not key:
            raise SalusError(
                f"The remote judge's key is to be in the environment variable {self.api_key_env}, which is not set."
                " Export it (on a cluster on every node, before Ray starts), or name another as"
                " judge.remote.api_key_env."
            )
        return key

    def share(self, actors: int) -> RemoteConfig:
        """The settings of one of several actors: the limit of requests is the account's, and each keeps its share."""
        if self.requests_per_minute is None:
            return self
        return self.model_copy(update={"requests_per_minute": self.requests_per_minute / actors})
