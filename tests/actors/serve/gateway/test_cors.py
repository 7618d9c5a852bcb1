"""Other origins' pages: none may call the API, unless named; and never with what a browser adds by itself."""

from __future__ import annotations

import pytest

from actors.serve.gateway.config import GatewayConfig
from tests.actors.serve.gateway.served import CHAT, SAFE, Served

CORS = GatewayConfig(allowed_origins=("https://ward.example",))
WARD = ("origin", "https://ward.example")
ASKS = [("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")]


def test_cors_is_closed() -> None:
    served = Served()
    preflight = served.ask("OPTIONS", "/v1/chat/completions", headers=[WARD, *ASKS])
    assert preflight.status_code == 403
    for response in (preflight, served.ask("GET", "/v1/models", "client", [WARD])):
        assert not [name for name in response.headers if name.startswith("access-control-")]


def test_a_named_origin_may_call_the_api_with_its_own_key() -> None:
    served = Served(config=CORS)
    preflight = served.ask("OPTIONS", "/v1/chat/completions", headers=[WARD, *ASKS])
    assert preflight.status_code == 204 and preflight.content == b""
    assert preflight.headers["access-control-allow-methods"] == "POST"
    answer = served.ask("POST", "/v1/chat/completions", "client", [WARD], json_body=CHAT)
    for response in (preflight, answer):
        assert response.headers["access-control-allow-origin"] == "https://ward.example"
        assert "Origin" in response.headers.get_list("vary", split_commas=True)
        assert "access-control-allow-credentials" not in response.headers
    # Refused ones too, or the page could not read why.
    assert served.ask("GET", "/v1/models", headers=[WARD]).headers["access-control-allow-origin"] == WARD[1]


@pytest.mark.parametrize(
    ("origin", "path"),
    [
        ("https://ward.example.evil.example", "/v1/models"),
        ("http://ward.example", "/v1/models"),
        ("null", "/v1/models"),
        ("https://ward.example", "/review"),
        ("https://ward.example", "/tokenize"),
    ],
)
def test_no_other_origin_and_no_page(origin: str, path: str) -> None:
    served = Served(config=CORS)
    assert served.ask("OPTIONS", path, headers=[("origin", origin), *ASKS]).status_code == 403
    if origin != "https://ward.example":
        response = served.ask("GET", path, "client", [("origin", origin)])
        assert "access-control-allow-origin" not in response.headers
        assert "Origin" in response.headers.get_list("vary", split_commas=True)


def test_a_preflight_is_for_the_methods_of_its_route() -> None:
    served = Served(config=CORS)
    asks = [("access-control-request-method", "DELETE"), ("access-control-request-headers", "x-odd")]
    assert served.ask("OPTIONS", "/v1/chat/completions", headers=[WARD, *asks]).status_code == 403
    preflight = served.ask("OPTIONS", "/v1/models", headers=[WARD, ("access-control-request-method", "GET")])
    assert preflight.headers["access-control-allow-methods"] == "GET"
    # As of every answer: counted, and with safe headers.
    assert served.last.method == "OPTIONS" and {name: preflight.headers.get(name) for name in SAFE} == SAFE


def test_no_answer_is_for_any_origin_or_for_what_a_browser_adds() -> None:
    served = Served(config=CORS)
    for origin in ("https://ward.example", "https://evil.example", "*"):
        for method, path in (("GET", "/v1/models"), ("OPTIONS", "/v1/models"), ("OPTIONS", "/v1/chat/completions")):
            said = served.ask(method, path, "client", [("origin", origin), *ASKS]).headers
            assert said.get("access-control-allow-origin") in (None, "https://ward.example")
            assert "access-control-allow-credentials" not in said
