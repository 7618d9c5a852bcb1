"""Who is let in: keys in all their forms, roles, other sites' pages, and how often."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re

import httpx
import pytest

from actors.serve.gateway.config import GatewayConfig
from tests.actors.serve.gateway.served import NOT_FOR_OTHERS, Served, converse, error_of, json_headers, part, scope_of
from tests.actors.serve.gateway.test_caller import ALLOWED

JSON = ("content-type", "application/json")
PAGES = ("/review", "/dashboard", "/answers")
# What a browser says when a person opens an address.
BROWSER = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8")


def basic(token: str) -> tuple[str, str]:
    return "authorization", "Basic " + base64.b64encode(f"nobody:{token}".encode()).decode()


def asked(served: Served, method: str, path: str, key: str | None = None) -> httpx.Response:
    return served.ask(method, path, key, json_body={} if method == "POST" else None)


@pytest.fixture(scope="module")
def served() -> Served:
    return Served()


@pytest.mark.parametrize(("method", "path"), ALLOWED)
def test_without_a_key_only_health_answers(served: Served, method: str, path: str) -> None:
    response = asked(served, method, path)
    if ALLOWED[method, path] is None:
        assert response.status_code == 200
        return
    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"
    challenge = 'Basic realm="Salus", charset="UTF-8"' if path.startswith(PAGES) else "Bearer"
    assert response.headers["www-authenticate"] == challenge


@pytest.mark.parametrize("path", ["/tokenize", "/v1/load_lora_adapter", "/nothing", "/docs"])
def test_without_a_key_nothing_tells_what_is_there(served: Served, path: str) -> None:
    assert asked(served, "POST", path).status_code == 401


@pytest.mark.parametrize(("method", "path"), ALLOWED)
@pytest.mark.parametrize("role", ["client", "reviewer", "admin"])
def test_each_role_reaches_its_routes(served: Served, method: str, path: str, role: str) -> None:
    needed = ALLOWED[method, path]
    response = asked(served, method, path, role)
    if needed == "reviewer" and role == "client":
        assert response.status_code == 403
        assert error_of(response)["code"] == "insufficient_role"
    else:
        assert response.status_code == 200


@pytest.mark.parametrize("path", NOT_FOR_OTHERS)
def test_not_even_an_admin_reaches_the_rest_of_the_app(served: Served, path: str) -> None:
    # Past httpx, which would tidy the path.
    asking = scope_of("POST", path, json_headers(served.tokens["admin"]))
    sent = asyncio.run(converse(served.gateway, asking, part(b"{}")))
    assert sent[0]["status"] == 404


def test_health_takes_get_alone(served: Served) -> None:
    assert asked(served, "POST", "/health").status_code == 401
    response = asked(served, "POST", "/health", "client")
    assert response.status_code == 405 and response.headers["allow"] == "GET"
    assert error_of(response)["code"] == "method_not_allowed"


def test_a_key_comes_in_three_forms(served: Served) -> None:
    token = served.tokens["client"]
    for header in (("authorization", f"bearer  {token} "), ("x-api-key", token), basic(token)):
        assert served.ask("GET", "/v1/models", headers=[header]).json()["salus_caller"] == "client"


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Bearer x", "Basic", "Basic !", "Basic eA==", "Basic Og==", "Digest x"]
)
def test_anything_else_is_no_key(served: Served, value: str) -> None:
    response = served.ask("GET", "/v1/models", headers=[("authorization", value)])
    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"


def test_the_app_sees_who_asks_and_no_key(served: Served) -> None:
    token = served.tokens["reviewer"]
    seen = served.ask("GET", "/v1/models", "reviewer", [("x-api-key", token), ("x-request-id", "mine")]).json()
    assert seen["salus_caller"] == "reviewer" and seen["salus_role"] == "reviewer"
    assert token not in str(seen)
    assert seen["headers"]["x-request-id"] != "mine"
    assert served.ask("GET", "/health").json()["salus_caller"] == ""


SAME = [("sec-fetch-site", "same-origin")]
CASES = [
    (SAME, True),
    ([*SAME, ("origin", "http://localhost:8000")], True),
    ([("origin", "http://localhost:8000")], True),
    ([("origin", "https://salus.ward.example")], True),
    ([], False),
    ([("origin", "http://evil.example")], False),
    ([("origin", "http://localhost:8001")], False),
    ([("origin", "null")], False),
    ([("origin", "http://[")], False),
    ([("origin", "http://localhost:8000.evil.example")], False),
    ([("sec-fetch-site", "same-site"), ("origin", "http://localhost:8000")], False),
    ([("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8000")], False),
    ([("sec-fetch-site", "none")], False),
]


@pytest.mark.parametrize(("headers", "let_in"), CASES)
def test_what_a_browser_sends_by_itself_must_come_from_our_page(headers: list[tuple[str, str]], let_in: bool) -> None:
    served = Served(config=GatewayConfig(page_origins=("https://salus.ward.example",)))
    key = basic(served.tokens["reviewer"])
    response = served.ask("POST", "/review/items", headers=[key, *headers], json_body={})
    assert response.status_code == (200 if let_in else 403)
    if not let_in:
        assert error_of(response)["code"] == "cross_origin"
    form = ("content-type", "application/x-www-form-urlencoded")
    assert served.ask("POST", "/review/items", headers=[key, form, *headers], content=b"a=b").status_code == 403
    # Reading changes nothing, and a key that a page must add by itself was not added by a browser.
    assert served.ask("GET", "/review", headers=[key, *headers]).status_code == 200
    assert served.ask("POST", "/review/items", "reviewer", headers, json_body={}).status_code == 200


def test_a_body_is_json_or_refused(served: Served) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/jsonp", ""):
        response = served.ask("POST", "/v1/completions", "client", [("content-type", kind)], content=b"{}")
        assert response.status_code == 415
    said = ("content-type", "Application/JSON; charset=utf-8")
    assert served.ask("POST", "/v1/completions", "client", [said], content=b"{}").status_code == 200


def test_nobody_chooses_an_adapter_past_the_app(served: Served) -> None:
    for name in ("serve_multiplexed_model_id", "Serve-Multiplexed-Model-Id"):
        response = served.ask("GET", "/v1/models", "admin", [(name, "x")])
        assert response.status_code == 400 and error_of(response)["code"] == "invalid_header"


def test_without_keys_anybody_on_this_machine_is_let_in() -> None:
    served = Served(config=GatewayConfig(open=True, allowed_origins=("https://ward.example",)))
    for method, path in ALLOWED:
        assert asked(served, method, path).status_code == 200
    # OpenAI's clients always send some key.
    seen = served.ask("GET", "/v1/models", headers=[("authorization", "Bearer EMPTY")]).json()
    assert (seen["salus_caller"], seen["salus_role"]) == ("anonymous", "admin")
    assert asked(served, "POST", "/tokenize").status_code == 404


@pytest.mark.parametrize(
    ("headers", "url", "status"),
    [
        ([("origin", "http://evil.example")], "http://localhost:8000", 403),
        ([("origin", "http://evil.example")], "http://evil.example:8000", 403),
        ([], "http://evil.example:8000", 403),
        ([("origin", "https://ward.example")], "http://localhost:8000", 200),
        ([("origin", "http://localhost:8000"), *SAME], "http://localhost:8000", 200),
        ([("origin", "http://127.0.0.1:8000")], "http://127.0.0.1:8000", 200),
        ([], "http://[::1]:8000", 200),
    ],
)
def test_without_keys_no_other_site_asks_through_a_browser(
    headers: list[tuple[str, str]], url: str, status: int
) -> None:
    served = Served(config=GatewayConfig(open=True, allowed_origins=("https://ward.example",)))
    response = served.ask("POST", "/v1/completions", headers=headers, json_body={}, base_url=url)
    assert response.status_code == status


def test_a_key_has_a_pace_unless_the_settings_lift_it() -> None:
    config = GatewayConfig()
    served, free = Served(), Served(config=GatewayConfig(requests_per_minute=None))
    codes = [asked(served, "GET", "/v1/models", "client").status_code for _ in range(config.burst + 1)]
    assert codes == [200] * config.burst + [429]
    assert {asked(free, "GET", "/v1/models", "client").status_code for _ in range(config.burst + 1)} == {200}


def test_a_key_may_ask_so_often() -> None:
    served = Served(config=GatewayConfig(requests_per_minute=6, burst=2))
    assert [asked(served, "GET", "/v1/models", "client").status_code for _ in range(3)] == [200, 200, 429]
    response = asked(served, "GET", "/v1/models", "client")
    assert response.headers["retry-after"] == "10"
    assert error_of(response) == {
        "message": "The key client may make 6 requests a minute; ask again in 10 s.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert asked(served, "GET", "/v1/models", "admin").status_code == 200
    assert asked(served, "GET", "/health").status_code == 200
    served.clock.now_s += 9.9
    assert asked(served, "GET", "/v1/models", "client").status_code == 429
    served.clock.now_s += 0.2
    assert asked(served, "GET", "/v1/models", "client").status_code == 200
    served.clock.now_s += 3600
    assert [asked(served, "GET", "/v1/models", "client").status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("page", PAGES)
def test_a_person_whose_key_has_too_low_a_role_is_told_so_and_may_sign_in_anew(served: Served, page: str) -> None:
    low = basic(served.tokens["client"])
    told = served.ask("GET", page, headers=[BROWSER, low])
    assert (told.status_code, told.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "The key client has the role client; this address needs the role reviewer." in told.text
    assert '<a href="?sign-in">' in told.text and "www-authenticate" not in told.headers
    policy = told.headers["content-security-policy"]
    style = re.findall("<style>(.*?)</style>", told.text)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in policy and f"style-src 'sha256-{digest}'" in policy and "script" not in policy
    assert told.headers["cache-control"] == "no-store" and told.headers["x-frame-options"] == "DENY"
    # The link has the browser forget that key and ask for another.
    again = served.ask("GET", f"{page}?sign-in", headers=[BROWSER, low])
    assert (again.status_code, again.headers["www-authenticate"]) == (401, 'Basic realm="Salus", charset="UTF-8"')
    assert "this address needs the role reviewer." in again.text
    assert served.ask("GET", f"{page}?sign-in", headers=[BROWSER, basic(served.tokens["reviewer"])]).status_code == 200


def test_programs_get_the_refusal_as_json(served: Served) -> None:
    low = basic(served.tokens["client"])
    for headers in ([low], [low, ("accept", "application/json")]):
        assert error_of(served.ask("GET", "/review/next", headers=headers))["code"] == "insufficient_role"
    # A key that no browser keeps is not asked for anew.
    assert served.ask("GET", "/review?sign-in", "client").status_code == 403
    assert error_of(served.ask("GET", "/metrics", "client", headers=[BROWSER]))["code"] == "insufficient_role"
    label = served.ask("POST", "/review/label", headers=[low, BROWSER], json_body={})
    assert error_of(label)["type"] == "permission_error"


def test_a_person_without_a_good_key_gets_a_page_too(served: Served) -> None:
    for headers in ([BROWSER], [BROWSER, basic("salus_<b>wrong</b>")]):
        told = served.ask("GET", "/review", headers=headers)
        assert (told.status_code, told.headers["www-authenticate"][:5]) == (401, "Basic")
        assert "<h1>No access</h1>" in told.text and "?sign-in" in told.text and "<b>" not in told.text
