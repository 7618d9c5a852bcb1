"""The gateway's settings, and whether an endpoint may be opened with them."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from actors.errors import SalusError
from actors.serve.gateway.fields import SAMPLING_FIELDS
from actors.serve.gateway.keys import ROLES, ApiKey, KeyRing, Role, parse_keys, strict_keys

Origin = Annotated[str, Field(pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?$")]
FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class GatewayConfig(BaseModel):
    """Who may use the endpoint, how much, and from which pages. Limits are those of one replica."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys_file: Path | None = Field(None, description="File of hashed keys, as `salus key add` writes it; None: none.")
    keys_env: str = Field(
        "SALUS_API_KEYS",
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="Environment variable that may hold further lines of such a file, or a JSON array of them.",
    )
    open: bool = Field(
        False, description="Answer everybody, and as an admin; only on a loopback address, and only without keys."
    )
    max_body_bytes: int = Field(2**20, ge=1, description="The longest request body.")
    body_timeout_s: float = Field(30.0, gt=0, description="How long a client may take to send its body.")
    max_tokens_per_request: int | None = Field(
        4096,
        ge=1,
        description="The most max_tokens or max_completion_tokens may ask for, and the longest answer where a request"
        " names neither; None: the model's limit.",
    )
    max_answers_per_request: int | None = Field(
        16, ge=1, description="The most answers one request may ask for: n times its prompts; None: any number."
    )
    max_prompt_chars: int | None = Field(
        200_000, ge=1, description="Characters of all texts of a request together; None: what fits max_body_bytes."
    )
    requests_per_minute: float | None = Field(600, gt=0, description="Of one key, on one replica; None: no limit.")
    burst: int = Field(120, ge=1, description="Requests of one key that may come at once before that limit holds.")
    extra_fields: dict[Role, tuple[FieldName, ...]] = Field(
        {"admin": SAMPLING_FIELDS},
        description="Fields of a request that a role may use beyond those of OpenAI's API; a higher role may use them"
        " too. Some let a client read or disturb what is not its own: prompt_logprobs, chat_template, cache_salt.",
    )
    max_constraint_bytes: int = Field(
        32_768, ge=1, description="The longest schema, grammar, regex, list of choices, or list of tools of a request."
    )
    max_constraint_depth: int = Field(32, ge=1, description="The most levels of a schema, or of tools.")
    max_choices: int = Field(512, ge=1, description="The most choices, or values of one enum, that a request names.")
    constraint_timeout_s: float = Field(
        2.0, gt=0, description="How long the compiling of a request's schema, grammar or regex may take."
    )
    allowed_origins: tuple[Origin, ...] = Field(
        (), description="Origins whose pages may call the API from a browser (CORS), as https://ward.example."
    )
    page_origins: tuple[Origin, ...] = Field(
        (), description="The origins of Salus's own pages where a proxy in front changes the Host header."
    )
    request_id_header: bool = Field(
        True, description="Answer with x-request-id; off behind a server that does, as Ray Serve."
    )

    def fields_of(self, role: Role) -> frozenset[str]:
        """The further fields that a role may use: its own, and those of every role below it."""
        below = ROLES[: ROLES.index(role) + 1]
        return frozenset(name for each in below for name in self.extra_fields.get(each, ()))


def is_loopback(host: str) -> bool:
    """Whether a host, named or numbered, is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_gateway(config: GatewayConfig, host: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to open an endpoint on `host` that would let in no one, or just anyone.

    Raises:
        SalusError: no keys where keys are wanted, keys where none are, or `open` on an address others can reach. Also
            for a key file that is missing, cannot be read, may be written by others, or has a line that is no key.
    """
    keys = _given_keys(config, environment)
    if config.open and keys:
        raise SalusError(
            f"publish.gateway.open=true lets everybody in, but {_source(config)} holds keys; take one of the two back."
        )
    if config.open and not is_loopback(host):
        raise SalusError(
            f"publish.gateway.open=true lets everybody in, and {host} is not a loopback address; make keys (salus"
            " key add NAME) and set publish.gateway.keys_file, or serve on 127.0.0.1."
        )
    if not config.open and not keys:
        raise SalusError(
            f"There is no API key in {_source(config)}; make one (salus key add NAME) and set"
            " publish.gateway.keys_file, or, on a loopback address, set publish.gateway.open=true."
        )


def key_ring(
    config: GatewayConfig, environment: Mapping[str, str] = os.environ, further: Iterable[ApiKey] = ()
) -> KeyRing:
    """The keys that are taken, of file and variable; the file is read again whenever it changes.

    Args:
        further: keys of the system's own, as the one by which it asks its endpoint whether it answers.

    Raises:
        SalusError: the variable holds what is no key.
    """
    return KeyRing(config.keys_file, (*_variable_keys(config, environment), *further))


def _given_keys(config: GatewayConfig, environment: Mapping[str, str]) -> tuple[ApiKey, ...]:
    of_file = strict_keys(config.keys_file) if config.keys_file is not None else ()
    return (*of_file, *_variable_keys(config, environment))


def _variable_keys(config: GatewayConfig, environment: Mapping[str, str]) -> tuple[ApiKey, ...]:
    text = environment.get(config.keys_env, "").strip()
    keys, faults = parse_keys(_lines(text) if text.startswith("[") else text, f"the variable {config.keys_env}")
    if faults:
        raise SalusError(faults[0][0].upper() + faults[0][1:])
    return keys


def _lines(array: str) -> str:
    """A JSON array as JSON lines; as it is where it is none."""
    try:
        return "\n".join(json.dumps(entry) for entry in json.loads(array))
    except (ValueError, RecursionError):
        return array


def _source(config: GatewayConfig) -> str:
    variable = f"the variable {config.keys_env}"
    return variable if config.keys_file is None else f"{config.keys_file} or {variable}"
