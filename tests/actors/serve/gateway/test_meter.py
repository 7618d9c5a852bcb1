"""Meters: what a scrape of a replica shows, and that tokens are read from answers without reading much."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from actors.serve.gateway.exchange import LONGEST_JSON, ServedAnswer
from actors.serve.gateway.meter import NOT_SAID, FinishedRequest, Meters, PrometheusMeter, TokenCount
from tests.actors.serve.gateway.served import Tally

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
SAID = json.dumps({"choices": [], "usage": USAGE}).encode()
EVENT = b"data: " + SAID + b"\n\n"
DONE = b"data: [DONE]\n\n"


def counted(streamed: bool, *parts: bytes) -> TokenCount:
    said = ServedAnswer(0, lambda: "c1")
    kind = b"text/event-stream" if streamed else b"application/json"
    said.see({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    for part in parts:
        said.see({"type": "http.response.body", "body": part, "more_body": True})
    return said.tokens()


def test_a_short_answer_says_its_tokens_however_it_is_cut() -> None:
    assert counted(False, SAID) == TokenCount(7, 3)
    assert counted(False, SAID[:9], SAID[9:], b"") == TokenCount(7, 3)
    assert counted(False, b" " * LONGEST_JSON, SAID) == NOT_SAID
    assert counted(False, b" " * LONGEST_JSON, b" ", b" ", SAID) == NOT_SAID


def test_a_stream_says_them_last() -> None:
    first = b'data: {"choices": [{"delta": {}}], "usage": null}\n\n'
    assert counted(True, first, EVENT, DONE, b"") == TokenCount(7, 3)
    assert counted(True, first, EVENT + DONE) == TokenCount(7, 3)
    assert counted(True, first + EVENT.replace(b"\n", b"\r\n") + DONE) == TokenCount(7, 3)
    assert counted(True, EVENT, first, DONE) == NOT_SAID
    assert counted(True, b" " * LONGEST_JSON + EVENT) == NOT_SAID
    assert counted(True) == NOT_SAID


@pytest.mark.parametrize(
    "usage", [None, 1, [], {"prompt_tokens": "7"}, {"prompt_tokens": -1}, {"completion_tokens": 1.5}]
)
def test_what_is_no_count_is_not_said(usage: object) -> None:
    assert counted(False, json.dumps({"usage": usage}).encode()) == NOT_SAID


@given(
    st.booleans(), st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([EVENT, DONE, b'"usage"'])), max_size=5)
)
def test_any_answer_can_be_looked_at(streamed: bool, parts: list[bytes]) -> None:
    assert isinstance(counted(streamed, *parts), TokenCount)


def test_a_scrape_shows_routes_statuses_and_versions() -> None:
    meter, tally = PrometheusMeter(), Tally()
    both = Meters([meter, tally])
    for _ in range(3):
        both.started("/v1/models")
    both.finished(FinishedRequest("/v1/models", "GET", 200, 0.03, "client", "c1-dpo", TokenCount(7, 0)))
    both.finished(FinishedRequest("/v1/models", "GET", 404, 0.001))
    text = generate_latest(meter.registry).decode()
    for line in (
        'salus_requests_running{route="/v1/models"} 1.0',
        'salus_requests_total{method="GET",role="client",route="/v1/models",status="2xx",version="c1-dpo"} 1.0',
        'salus_requests_total{method="GET",role="none",route="/v1/models",status="4xx",version="none"} 1.0',
        'salus_request_seconds_bucket{le="0.05",route="/v1/models",status="2xx",version="c1-dpo"} 1.0',
        'salus_request_seconds_bucket{le="0.02",route="/v1/models",status="2xx",version="c1-dpo"} 0.0',
        'salus_tokens_total{kind="prompt",role="client",version="c1-dpo"} 7.0',
    ):
        assert line in text
    assert 'kind="completion"' not in text
    assert tally.running == ["/v1/models"] and len(tally.requests) == 2


def test_ray_takes_what_a_gateway_tells_it_with_a_cluster_or_without() -> None:
    from actors.serve.gateway.meter import RayMeter

    meter = RayMeter()
    meter.started("/v1/models")
    meter.finished(FinishedRequest("/v1/models", "GET", 200, 0.03, "client", "c1-dpo", TokenCount(7, 0)))
    meter.finished(FinishedRequest("/v1/models", "GET", 404, 0.0))


def test_two_meters_of_one_process_do_not_meet() -> None:
    PrometheusMeter()
    PrometheusMeter()
