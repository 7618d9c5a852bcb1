"""The dashboard's traffic: a window of each replica, and several put together."""

from __future__ import annotations

from actors.serve.gateway.meter import FinishedRequest
from actors.serve.gateway.traffic import ReplicaTraffic, TrafficWindow, together

CHAT = "/v1/chat/completions"


class Time:
    """Stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def finished(seconds: float, status: int = 200, route: str = CHAT) -> FinishedRequest:
    return FinishedRequest(route, "POST", status, seconds)


def test_only_answers_of_the_last_minute_count() -> None:
    time = Time()
    window = TrafficWindow(time)
    window.finished(finished(9.0))
    time.now += 61
    for seconds, status in ((0.1, 200), (0.3, 200), (0.2, 500), (0.1, 401)):
        window.finished(finished(seconds, status))
    window.finished(finished(0.1, route="/v1/models"))
    assert window.seen() == ReplicaTraffic(window_s=60.0, seconds=(0.1, 0.3, 0.2, 0.1), errors=1)


def test_a_young_replica_tells_of_the_time_it_has_seen() -> None:
    time = Time()
    window = TrafficWindow(time)
    time.now += 10
    window.finished(finished(0.5))
    traffic = together([window.seen()])
    assert traffic is not None and (traffic.window_s, traffic.requests, traffic.requests_per_s) == (10.0, 1, 0.1)


def test_replicas_are_added_up() -> None:
    one = ReplicaTraffic(window_s=60, seconds=(0.1,) * 98, errors=0)
    other = ReplicaTraffic(window_s=10, seconds=(1.0, 2.0), errors=2)
    traffic = together([one, other])
    assert traffic is not None
    assert (traffic.requests, traffic.errors, traffic.window_s) == (100, 2, 60)
    assert round(traffic.requests_per_s, 3) == round(98 / 60 + 0.2, 3)
    assert traffic.p50_s == 0.1 and traffic.p99_s is not None and 1.0 <= traffic.p99_s <= 2.0


def test_no_replica_no_traffic_and_no_request_no_latency() -> None:
    assert together([]) is None
    quiet = together([ReplicaTraffic(window_s=60, seconds=(), errors=0)])
    assert quiet is not None and (quiet.requests, quiet.p50_s) == (0, None)


def test_what_was_asked_before_a_moment_does_not_count_from_it() -> None:
    time = Time()
    window = TrafficWindow(time)
    window.finished(finished(0.5))
    time.now += 10
    # Asked before, answered after: it waited for what came between.
    window.finished(finished(10.5))
    for seconds, status in ((0.1, 200), (0.3, 500), (0.1, 429), (0.2, 499)):
        window.finished(finished(seconds, status))
    assert window.begun_within(10) == ReplicaTraffic(window_s=10, seconds=(0.1,), errors=1)
    # Longer ago than the dashboard's minute.
    time.now += 100
    assert window.begun_within(110) == ReplicaTraffic(window_s=110, seconds=(0.1,), errors=1)
    assert window.begun_within(5).seconds == ()
