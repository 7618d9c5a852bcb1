"""Leases in a store: one holder, whoever comes; by threads, on a file system and on an S3 server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.runs.lease.files import LeaseRecord
from pipelines.runs.lease.lease import Lease, hold_lease
from pipelines.runs.lease.process import Holder, this_process
from pipelines.runs.store.connect import connect
from pipelines.runs.store.leases import StoredLeases
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import RemotePlace

LIMIT_S = 30.0
BEAT_S = 0.05
ELSEWHERE = Holder(host="node-7", place="another boot", pid=4711, started_s=12.5, token="f" * 32)
ENDED = this_process().model_copy(update={"started_s": 1.0, "token": "e" * 32})


def leases(place: RemotePlace) -> StoredLeases:
    return StoredLeases(connect(place), fresh_s=0)


def quiet(sentence: str) -> None:
    """Nobody is told."""


def lease_of(age_s: float, holder: Holder = ELSEWHERE, number: int = 3) -> LeaseRecord:
    beat = datetime.now(UTC) - timedelta(seconds=age_s)
    return LeaseRecord(number=number, holder=holder, taken_at=beat, beat_at=beat)


def last(place: RemotePlace) -> LeaseRecord:
    record = leases(place).last()
    assert record is not None
    return record


def test_a_lease_beats_is_given_back_and_leaves_one_object(place: RemotePlace) -> None:
    for number in (1, 2):
        with hold_lease(leases(place), LIMIT_S, quiet, BEAT_S) as lease:
            first = last(place)
            assert first.number == number and not first.given_back
            end = time.monotonic() + 10
            while last(place).beat_at == first.beat_at and time.monotonic() < end:
                time.sleep(0.01)
            assert last(place).beat_at > first.beat_at
            # However often it is looked at while it beats.
            for _ in range(50):
                lease.check()
        assert last(place).given_back
    assert len(connect(place).list()) == 1


def test_a_second_holder_is_refused_and_told_who_is_at_work(place: RemotePlace) -> None:
    with hold_lease(leases(place), LIMIT_S, quiet, BEAT_S) as lease:
        with (
            pytest.raises(SalusError, match=f"{place} is in use by process .* on host .*, since"),
            hold_lease(leases(place), LIMIT_S, quiet, BEAT_S),
        ):
            pass
        lease.check()


def test_a_dead_holders_lease_is_taken_over_and_it_notices(place: RemotePlace) -> None:
    told: list[str] = []
    sleeper, old = leases(place), lease_of(age_s=LIMIT_S + 1)
    assert sleeper.add(old)
    asleep = Lease(sleeper, old, LIMIT_S, BEAT_S)
    asleep.check()
    with hold_lease(leases(place), LIMIT_S, told.append, BEAT_S) as lease:
        assert "watching it" in told[0] and "took over" in told[1]
        with pytest.raises(SalusError, match="was taken over by process"):
            asleep.check()
        lease.check()


def test_one_that_ended_here_is_not_waited_for(place: RemotePlace) -> None:
    assert leases(place).add(lease_of(age_s=0, holder=ENDED))
    with hold_lease(leases(place), LIMIT_S, quiet, BEAT_S):
        assert last(place).number == 4


def test_a_living_holder_elsewhere_is_left_alone(place: RemotePlace) -> None:
    assert leases(place).add(lease_of(age_s=1))
    with (
        pytest.raises(SalusError, match="in use by process 4711 on host node-7"),
        hold_lease(leases(place), LIMIT_S, quiet, BEAT_S),
    ):
        pass


def test_who_was_stopped_before_it_looked_again_has_lost(place: RemotePlace) -> None:
    slow = leases(place)
    assert leases(place).add(lease_of(age_s=1, number=3))
    for number in (2, 3):
        assert not slow.add(lease_of(age_s=0, holder=this_process(), number=number))
    assert last(place).holder == ELSEWHERE


def earlier(place: RemotePlace, record: LeaseRecord) -> None:
    """Write a lease as earlier versions did."""
    assert record.holder is not None
    name = f".lease/{record.number}-{record.holder.token}.json"
    connect(place).put(name, record.model_dump_json(indent=2).encode())


def test_leases_of_earlier_versions_hold_and_are_followed(place: RemotePlace) -> None:
    earlier(place, lease_of(age_s=1))
    with (
        pytest.raises(SalusError, match="in use by process 4711 on host node-7"),
        hold_lease(leases(place), LIMIT_S, quiet, BEAT_S),
    ):
        pass
    # A second one was killed before it withdrew.
    earlier(place, lease_of(age_s=0, holder=ENDED).model_copy(update={"given_back": True}))
    assert last(place).holder == ELSEWHERE
    earlier(place, lease_of(age_s=LIMIT_S + 1))
    with hold_lease(leases(place), LIMIT_S, quiet, BEAT_S) as lease:
        assert lease.number == 4
        assert list(connect(place).list()) == [".lease/4.json"]


def test_a_holder_that_wakes_up_cannot_renew_its_lease(place: RemotePlace) -> None:
    sleeper, old = leases(place), lease_of(age_s=LIMIT_S + 1)
    assert sleeper.add(old)
    with hold_lease(leases(place), LIMIT_S, quiet, BEAT_S) as lease:
        sleeper.write(old.model_copy(update={"beat_at": datetime.now(UTC)}))
        assert list(connect(place).list()) == [".lease/4.json"]
        seen = sleeper.last()
        assert seen is not None and seen.number == 4
        lease.check()


def test_a_beat_whose_answer_was_lost_is_no_loss_of_the_lease(place: RemotePlace) -> None:
    holder, first = leases(place), lease_of(age_s=2, holder=this_process())
    assert holder.add(first)
    # The same from a store that took a beat and did not say so.
    unheard = first.model_copy(update={"beat_at": datetime.now(UTC)})
    connect(place).put(".lease/3.json", unheard.model_dump_json().encode())
    newest = first.model_copy(update={"beat_at": datetime.now(UTC)})
    holder.write(newest)
    assert last(place) == newest and holder.last() == newest


def test_a_store_that_creates_objects_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = RemotePlace("file", f"{tmp_path}/share/run")
    # As an S3 server does that knows no If-None-Match.
    monkeypatch.setattr(Objects, "put_if_absent", Objects.put)
    with (
        pytest.raises(SalusError, match="does not refuse to create an object twice"),
        hold_lease(leases(place), LIMIT_S, quiet, BEAT_S),
    ):
        pass


def race(place: RemotePlace, came: int) -> tuple[list[Lease], list[str]]:
    """Let so many take the lease at once; who got in, and what the others were told."""

    def come(_: int) -> None:
        barrier.wait()
        try:
            with hold_lease(leases(place), LIMIT_S, quiet, BEAT_S) as lease:
                inside.append(lease)
                # Until all others have been refused, or one has come in that must not.
                end = time.monotonic() + 120
                while len(inside) + len(refused) < came and time.monotonic() < end:
                    time.sleep(0.05)
                lease.check()
        except SalusError as error:
            refused.append(error.sentence)

    inside, refused, barrier = list[Lease](), list[str](), threading.Barrier(came)
    with ThreadPoolExecutor(came) as threads:
        list(threads.map(come, range(came)))
    return inside, refused


@pytest.mark.parametrize("expired", [False, True], ids=["free", "expired"])
def test_of_sixteen_that_come_at_once_one_gets_in(place: RemotePlace, expired: bool) -> None:
    if expired:
        assert leases(place).add(lease_of(age_s=LIMIT_S + 1))
    inside, refused = race(place, 16)
    assert (len(inside), len(refused)) == (1, 15), refused
    assert all("is in use by process" in sentence for sentence in refused), refused


@pytest.mark.parametrize("name", [".lease/3.json", f".lease/3-{'a' * 32}.json"])
def test_a_lease_that_cannot_be_read_is_somebodys(place: RemotePlace, name: str) -> None:
    connect(place).put(name, b"{")
    record = last(place)
    assert record.holder is None and record.number == 3
    with (
        pytest.raises(SalusError, match="left no readable lease"),
        hold_lease(leases(place), LIMIT_S, quiet, BEAT_S),
    ):
        pass
