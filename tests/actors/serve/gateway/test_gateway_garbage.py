"""Whatever comes in, an answer of the gateway goes out: never an exception, never a 5xx."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.serve.gateway.body import check_limits, parse_body
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.refusal import Refused
from tests.actors.serve.gateway.served import Served, converse, part, scope_of

SERVED = Served()
LOCAL = Served(config=GatewayConfig(open=True, allowed_origins=("https://ward.example",)))
TOKENS = [SERVED.tokens[name].encode() for name in SERVED.tokens]
NAMES = (
    b"authorization", b"x-api-key", b"content-type", b"content-length", b"origin", b"host", b"sec-fetch-site",
    b"x-request-id", b"access-control-request-method", b"serve-multiplexed-model-id", b"transfer-encoding", b"cookie",
)  # fmt: skip
KNOWN_VALUES = (
    b"Basic Og==", b"Basic \xff", b"application/json", b"null", b"same-origin", b"http://[", b"http://localhost:8000",
    b"https://ward.example", b"[", b"::1", b"localhost", b"-1", b"http://localhost:99999", b"http://a@[::1", b"10",
)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([*KNOWN_VALUES, *TOKENS, *(b"Bearer " + token for token in TOKENS)]), st.binary(max_size=30)
)
# Servers let no other names through.
ODD_NAMES = st.text("abcxyz019!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
HEADERS = st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), ODD_NAMES), VALUES), max_size=8)
PATHS = st.one_of(
    st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/feedback", "/v1/models", "/review", "/health"]),
    st.text(max_size=20),
)
METHODS = st.one_of(st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "DELETE", "PUT"]), st.text(max_size=8))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
# fmt: off
FIELDS = st.sampled_from(
    [
        "model", "max_tokens", "max_completion_tokens", "n", "best_of", "prompt", "messages", "extra", "tools",
        "tool_choice", "response_format", "logit_bias", "temperature", "stream_options",
    ]
)
# fmt: on
BODIES = st.one_of(
    st.binary(max_size=60), st.dictionaries(FIELDS, JSON, max_size=5).map(lambda asked: json.dumps(asked).encode())
)


def status(served: Served, scope: dict[str, Any], body: bytes) -> int:
    sent = asyncio.run(asyncio.wait_for(converse(served.gateway, scope, part(body)), 10))
    assert [message["type"] for message in sent[:2]] == ["http.response.start", "http.response.body"]
    for name, value in sent[0]["headers"]:
        assert not {10, 13} & {*name, *value}
    found: int = sent[0]["status"]
    if found >= 400 and sent[1]["body"]:
        assert set(json.loads(sent[1]["body"])["error"]) == {"message", "type", "param", "code"}
    return found


@settings(max_examples=100, deadline=None)
@given(METHODS, PATHS, HEADERS, BODIES, st.sampled_from([SERVED, LOCAL]))
def test_any_request_gets_an_answer(
    method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes, served: Served
) -> None:
    assert status(served, scope_of(method, path, headers), body) < 500
    assert served.meter.running == []


@settings(max_examples=60, deadline=None)
@given(BODIES)
def test_any_body_of_a_known_caller_gets_an_answer(body: bytes) -> None:
    headers = [(b"authorization", b"Bearer " + TOKENS[0]), (b"content-type", b"application/json")]
    assert status(SERVED, scope_of(headers=headers), body) in (200, 400)


@settings(max_examples=100, deadline=None)
@given(BODIES)
def test_whatever_is_let_through_another_parser_reads_and_writes(body: bytes) -> None:
    try:
        check_limits(parse_body(body), GatewayConfig(), generates=True)
    except Refused as refused:
        assert refused.status == 400
        json.loads(refused.body())
        return
    asked = json.loads(body.decode("utf-8"))
    assert isinstance(asked, dict)
    # As an error of the app would quote it.
    json.dumps(asked, allow_nan=False, ensure_ascii=False).encode("utf-8")
    for name in ("max_tokens", "max_completion_tokens"):
        assert math.isfinite(asked.get(name) or 0) and (asked.get(name) or 0) <= 4096
