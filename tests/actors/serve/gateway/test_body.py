"""Bodies: how long, of what form, and what may be asked for; read once and handed on as they came."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from actors.serve.gateway.body import count_characters
from actors.serve.gateway.config import GatewayConfig
from tests.actors.serve.gateway.served import CHAT, Served, converse, error_of, json_headers, part, scope_of

SMALL = GatewayConfig(max_body_bytes=100)
BAD_JSON = {
    "nothing": b"",
    "cut": b'{"a": ',
    "no object": b"[1]",
    "a text": b'"a"',
    "more after it": b"{} {}",
    "NaN": b'{"temperature": NaN}',
    "Infinity": b'{"temperature": -Infinity}',
    "too large": b'{"temperature": 1e999}',
    "too large below": b'{"a": [{"b": -1e999}]}',
    "long": b'{"n": ' + b"9" * 5000 + b"}",
    "deep": b'{"a": ' * 300 + b"1" + b"}" * 300,
    "very deep": b"[" * 100_000,
    "half a surrogate": b'{"a": "\\ud800"}',
    "the other half": b'{"a": "\\udc00"}',
    "half a surrogate in a name": b'{"\\ud800": 1}',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a BOM": b"\xef\xbb\xbf{}",
    "a form": b"a=b&c=d",
}


@pytest.fixture(scope="module")
def served() -> Served:
    return Served()


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback"])
def test_what_is_no_json_is_a_400(served: Served, name: str, path: str) -> None:
    response = served.ask("POST", path, "client", [("content-type", "application/json")], content=BAD_JSON[name])
    assert response.status_code == 400
    assert error_of(response)["code"] == "invalid_json"


def test_the_body_goes_on_as_it_came(served: Served) -> None:
    body = '{ "b":1.0,\n "a": "\\u00e9é", "a": [1e3, null] }'.encode()
    response = served.ask("POST", "/v1/feedback", "client", [("content-type", "application/json")], content=body)
    assert response.json()["body"].encode() == body


@pytest.mark.parametrize("announced", [b"101", b"9" * 30, b"9" * 5000])
def test_a_body_said_to_be_too_long_is_not_read(announced: bytes) -> None:
    served = Served(config=SMALL)
    headers = [*json_headers(served.tokens["client"]), (b"content-length", announced)]
    # No part follows: whoever waited for one would wait for ever.
    sent = asyncio.run(asyncio.wait_for(converse(served.gateway, scope_of(headers=headers)), 5))
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize("announced", [None, b"3", b"-1", b"x", b"\xb2", b"0x9"])
def test_a_body_is_measured_whatever_is_said_of_it(announced: bytes | None) -> None:
    served = Served(config=SMALL)
    said = [] if announced is None else [(b"content-length", announced)]
    asking = scope_of(headers=[*json_headers(served.tokens["client"]), *said])
    # The parts after the limit are never asked for.
    parts = [part(b" " * 40, more=True)] * 3
    sent = asyncio.run(asyncio.wait_for(converse(served.gateway, asking, *parts), 5))
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["error"]["code"] == "request_too_large"
    whole = [part(b'{"mod', more=True), part(b"", more=True), part(b'el": "m"}')]
    assert asyncio.run(converse(served.gateway, asking, *whole))[0]["status"] == 200


def test_a_client_that_stops_sending_is_not_waited_for() -> None:
    served = Served(config=GatewayConfig(body_timeout_s=0.01))
    asking = scope_of(headers=json_headers(served.tokens["client"]))
    sent = asyncio.run(asyncio.wait_for(converse(served.gateway, asking, part(b"{", more=True)), 5))
    assert sent[0]["status"] == 408


def test_a_client_that_leaves_is_not_answered() -> None:
    served = Served()
    asking = scope_of(headers=json_headers(served.tokens["client"]))
    gone = {"type": "http.disconnect"}
    assert asyncio.run(converse(served.gateway, asking, part(b"{", more=True), gone)) == []
    assert served.last.status == 499 and served.meter.running == []


LIMITS = GatewayConfig(
    max_tokens_per_request=100,
    max_answers_per_request=4,
    max_prompt_chars=50,
    # Of chat alone, or vLLM's own; limits hold for them too.
    extra_fields={"client": ("max_completion_tokens", "prompt_embeds", "messages", "tools")},
)
ASKED: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"max_tokens": 100, "n": 4}, None),
    ({"max_tokens": None, "n": None}, None),
    ({"max_tokens": 101}, "max_tokens"),
    ({"max_completion_tokens": 101}, "max_completion_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 10**30}, "max_completion_tokens"),
    # What the app would take for 101 all the same.
    ({"max_tokens": "101"}, "max_tokens"),
    ({"max_tokens": 101.0}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": [1]}, "max_tokens"),
    ({"n": 5}, "n"),
    ({"best_of": 5}, "n"),
    ({"n": {}}, "n"),
    ({"prompt": ["a"] * 4}, None),
    ({"prompt": ["a"] * 5}, "n"),
    ({"prompt": ["a", "b"], "n": 3}, "n"),
    ({"prompt": [[1], [2], [3], [4], [5]]}, "n"),
    ({"prompt": [1, 2, 3, 4, 5]}, None),
    ({"prompt": []}, None),
    ({"prompt_embeds": ["a"] * 5}, "n"),
    ({"prompt": "x" * 60}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 60}]}]}, "messages"),
    ({"tools": [{"function": {"x" * 60: 1}}]}, "messages"),
]


@pytest.mark.parametrize(("fields", "param"), ASKED)
def test_a_request_asks_for_no_more_than_it_may(fields: dict[str, Any], param: str | None) -> None:
    served = Served(config=LIMITS)
    response = served.ask("POST", "/v1/completions", "client", json_body={"model": "m", **fields})
    assert response.status_code == (200 if param is None else 400)
    if param is not None:
        assert error_of(response)["param"] == param


def test_limits_can_be_lifted_and_hold_for_the_model_alone() -> None:
    free = GatewayConfig(max_tokens_per_request=None, max_answers_per_request=None, max_prompt_chars=None)
    long = [{"role": "user", "content": "x" * 10**5}]
    assert Served(config=free).chat(max_tokens=10**6, n=500, messages=long).status_code == 200
    response = Served(config=LIMITS).ask("POST", "/v1/feedback", "client", json_body={"comment": "x" * 60})
    assert response.status_code == 200


def test_every_character_of_every_text_counts() -> None:
    assert count_characters({"ab": ["cde", {"f": 1, "": None}], "é": "\U0001f642"}) == 2 + 3 + 1 + 1 + 1
    assert count_characters(CHAT) == len("modelsalusmessagesroleusercontentHello")
