"""The settings of a judge behind a server; apart from it, because its client takes a second to import."""

from __future__ import annotations

import os
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from actors.errors import SalusError

# A word, where the server tells no log-probabilities, in tokens.
_WORD_TOKENS = 8
_OWN_FIELDS = frozenset(
    {
        "model",
        "messages",
        "temperature",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "n",
        "stream",
    }
)
_OWN_HEADERS = frozenset({"authorization", "content-type", "content-length", "host"})
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class RemoteConfig(BaseModel):
    """The server, the model, how fast it may be asked and what it charges.

    The key and the headers are read from the environment of the process that asks. So on a cluster their variables must
    be set where Ray's nodes start. They are in no recipe, record or message.
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
    token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="how the server calls the limit of a reply; newer models know the second alone"
    )
    reply_tokens: int | None = Field(
        None,
        ge=1,
        description="longest reply, thoughts included; None: 1 with logprobs, 8 with word. A reasoning model needs some"
        " thousand, and reply: word",
    )
    temperature: float | None = Field(
        0.0, ge=0, description="sent with each request; None: not sent, for reasoning models that refuse it"
    )
    extra_body: dict[str, Any] = Field(
        {}, description="further fields of each request, such as reasoning_effort: low; kept in the run's records"
    )
    headers: dict[str, str] = Field(
        {},
        description="further HTTP headers: of each, the environment variable that holds its value. Values are in no"
        " record, as the key",
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

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_question(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_OWN_FIELDS & extra.keys()):
            raise ValueError(f"{', '.join(taken)} is set by Salus or by a setting beside extra_body; leave it out")
        return extra

    @field_validator("headers")
    @classmethod
    def _headers_name_variables(cls, headers: dict[str, str]) -> dict[str, str]:
        for header, variable in headers.items():
            if not _HEADER.fullmatch(header) or header.lower() in _OWN_HEADERS:
                raise ValueError(f"{header!r} is no header that a recipe may set; name another")
            if not _VARIABLE.fullmatch(variable):
                # Not shown: it may be the secret itself.
                raise ValueError(f"{header} must name an environment variable, such as JUDGE_TENANT, not hold a value")
        return headers

    @property
    def longest_reply(self) -> int:
        """Tokens of a reply."""
        return self.reply_tokens or (1 if self.reply == "logprobs" else _WORD_TOKENS)

    @property
    def judge_name(self) -> str:
        """The judge's name in records and folders."""
        return "remote-" + re.sub(r"[^A-Za-z0-9._-]+", "-", self.model)

    def key(self) -> str:
        """The server's key, from this process' environment; "none" where it asks for none.

        Raises:
            SalusError: the variable is not set.
        """
        return self.secret(self.api_key_env, "key") if self.api_key_env is not None else "none"

    def secret(self, variable: str, what: Literal["key", "header"]) -> str:
        """The value of an environment variable.

        Raises:
            SalusError: it is not set.
        """
        value = os.environ.get(variable, "").strip()
        if not value:
            setting = "api_key_env" if what == "key" else "headers"
            raise SalusError(
                f"The remote judge's {what} is to be in the environment variable {variable}, which is not set. Export"
                f" it (on a cluster on every node, before Ray starts), or name another as judge.remote.{setting}."
            )
        return value

    def share(self, actors: int) -> RemoteConfig:
        """The settings of one of several actors: the limit of requests is the account's, and each keeps its share."""
        if self.requests_per_minute is None:
            return self
        return self.model_copy(update={"requests_per_minute": self.requests_per_minute / actors})
