"""What may be reached, by whom; everything else is not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.serve.gateway.caller import find_route, may_use, route_path
from tests.actors.serve.gateway.served import NOT_FOR_OTHERS

ALLOWED = {
    ("GET", "/health"): None,
    ("GET", "/ready"): None,
    ("GET", "/v1/models"): "client",
    ("GET", "/v1/models/salus"): "client",
    ("POST", "/v1/chat/completions"): "client",
    ("POST", "/v1/completions"): "client",
    ("POST", "/v1/feedback"): "client",
    ("GET", "/openapi.json"): "client",
    ("GET", "/metrics"): "reviewer",
    ("GET", "/dashboard"): "reviewer",
    ("GET", "/answers"): "reviewer",
    ("GET", "/answers/data"): "reviewer",
    ("GET", "/dashboard/data.json"): "reviewer",
    ("GET", "/review"): "reviewer",
    ("GET", "/review/"): "reviewer",
    ("POST", "/review/items/17.a"): "reviewer",
}


@pytest.mark.parametrize(("method", "path"), ALLOWED)
def test_what_is_on_the_list(method: str, path: str) -> None:
    route = find_route(path)
    assert route is not None and method in route.methods and route.role == ALLOWED[method, path]


@pytest.mark.parametrize("path", NOT_FOR_OTHERS)
def test_what_is_not(path: str) -> None:
    assert find_route(path) is None


@given(st.text(alphabet=st.sampled_from("/.v1revieweradmin%2e\\\n\x00:-healthtokenize"), max_size=30))
def test_no_path_is_read_in_two_ways(path: str) -> None:
    route = find_route("/" + path)
    if route is None:
        return
    segments = ("/" + path).removesuffix("/").split("/")[1:]
    assert all(segments) and not {".", ".."} & set(segments)
    assert not set(path) & set("%\\\n\x00?#")
    assert ("/" + path).startswith(route.template.split("/{")[0])


def test_a_role_may_what_those_below_it_may() -> None:
    client, reviewer = find_route("/v1/models"), find_route("/review")
    assert client is not None and reviewer is not None
    assert [may_use(role, client) for role in ("client", "reviewer", "admin")] == [True, True, True]
    assert [may_use(role, reviewer) for role in ("client", "reviewer", "admin")] == [False, True, True]


@pytest.mark.parametrize(
    ("root", "path", "below"),
    [("", "/x", "/x"), ("/a", "/a/x", "/x"), ("/a", "/ab/x", "/ab/x"), ("/a", "/a", ""), ("/a", "/x", "/x")],
)
def test_a_mounted_app_is_asked_below_its_mount(root: str, path: str, below: str) -> None:
    from starlette._utils import get_route_path

    scope = {"path": path, "root_path": root}
    assert route_path(scope) == below == get_route_path(scope)
