"""The publisher without Ray: real swaps over small engines; every phase and every failure is played."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.contract.publication import Publication
from actors.contract.records import PolicyRef
from actors.engine.model_folder import check_same_shape
from actors.errors import SalusError
from actors.serve.address import check_address, check_port_free
from actors.serve.config import PublisherConfig, SmokeConfig, publisher_cpus, publisher_gpus
from actors.serve.gateway.traffic import ReplicaTraffic
from actors.serve.publisher.endpoint import Argument, ReplicaCall
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.actor import PolicyRecord
from actors.serve.replica.app import replica_bundles, replica_environment
from actors.serve.replica.canary import ReplicaWatch
from actors.serve.replica.pause import Pause
from actors.serve.replica.published import PolicyOnDisk
from actors.serve.replica.smoke import SmokeReply, ask_all
from actors.serve.replica.swap import EngineSwap, ReplicaState
from tests.free_port import free_port
from tests.small_folder import small_folder


class SmallEngine:
    """An engine whose weights are a path; paths named in `bad` do not load, `says` is what each answers."""

    def __init__(self, weights: str, bad: set[str] | None = None, says: dict[str, str] | None = None) -> None:
        self.weights = weights
        self.bad = bad if bad is not None else set()
        self.says = says if says is not None else {}
        self.paused = False
        self.busy = False
        self.cached = True
        self.loads = 0

    async def pause(self, **options: Any) -> None:
        assert options == {"mode": "wait"}
        while self.busy:
            await asyncio.sleep(0.001)
        self.paused = True

    async def resume(self) -> None:
        self.paused = False

    async def collective_rpc(self, method: str, *, kwargs: dict[str, Any]) -> list[Any]:
        assert method == "reload_weights"
        assert self.paused, "weights must not change under a running answer"
        self.loads += 1
        if kwargs["weights_path"] in self.bad:
            raise RayError("weights do not fit")
        self.weights = kwargs["weights_path"]
        return [None]

    async def reset_prefix_cache(self) -> None:
        self.cached = False

    async def reply(self, text: str, max_tokens: int) -> str:
        assert not self.paused, "a paused engine answers nothing"
        return self.says.get(self.weights, "Take one tablet.")


class RecordHere:
    """A record in this process."""

    def __init__(self) -> None:
        self.address = ActorAddress()
        self.holder = PolicyRecord()

    def record(self, policy: PolicyRef) -> None:
        self.holder.record(policy)

    async def ask(self) -> PolicyRef:
        policy = self.holder.published_policy()
        if policy is None:
            raise ValueError("nothing is published")
        return policy


class SmallEndpoint:
    """Replicas in this process; records every call made on all of them."""

    def __init__(self, published: RecordHere, replicas: int = 2) -> None:
        self._published = published
        self._replicas = replicas
        self.engines: list[SmallEngine] = []
        self.swaps: list[EngineSwap] = []
        self.pauses: list[Pause] = []
        self.calls: list[str] = []
        # Of those that try a policy: the call, and which of them.
        self.trials: list[tuple[str, tuple[str, ...]]] = []
        # By the weights that answer.
        self.says: dict[str, str] = {}
        self.traffic: dict[str, ReplicaTraffic] = {}
        self.now = 0.0

    def start(self, policy: PolicyRef, published: ActorAddress) -> None:
        for _ in range(self._replicas):
            self.add(policy)

    def add(self, policy: PolicyRef) -> EngineSwap:
        engine = SmallEngine(policy.path, says=self.says)
        pause = Pause()
        swap = EngineSwap(
            engine,
            self._published.ask,
            drain_timeout_s=0.05,
            hold_s=60,
            pause=pause,
            replica=f"r{len(self.engines)}",
            monotonic=lambda: self.now,
        )
        swap.adopt(policy)
        self.engines.append(engine)
        self.swaps.append(swap)
        self.pauses.append(pause)
        return swap

    def everywhere(self, call: ReplicaCall, *arguments: Argument) -> list[Any]:
        self.calls.append(call)
        return self._play(self.swaps, call, arguments)

    def some(self, replicas: Sequence[str], call: ReplicaCall, *arguments: Argument) -> list[Any]:
        self.trials.append((call, tuple(replicas)))
        return self._play([k for k in self.swaps if k.state.replica in replicas], call, arguments)

    def _play(self, swaps: Sequence[EngineSwap], call: ReplicaCall, arguments: Sequence[Argument]) -> list[Any]:
        async def play() -> list[Any]:
            return list(await asyncio.gather(*(self._called(swap, call, arguments) for swap in swaps)))

        return asyncio.run(play())

    async def _called(self, swap: EngineSwap, call: ReplicaCall, arguments: Sequence[Any]) -> Any:
        engine = self.engines[self.swaps.index(swap)]
        if call == "state":
            return swap.state
        if call == "watch":
            quiet = ReplicaTraffic(window_s=arguments[0], seconds=(), errors=0)
            return ReplicaWatch(state=swap.keep_hold(), traffic=self.traffic.get(engine.weights, quiet))
        if call == "answer_smoke":
            return await self._smoke(swap, engine, arguments[0])
        return await getattr(swap, call)(*arguments)

    async def _smoke(self, swap: EngineSwap, engine: SmallEngine, smoke: SmokeConfig) -> tuple[SmokeReply, ...]:
        return await swap.try_out(lambda: ask_all(smoke, engine.reply))

    def stop(self) -> None:
        self.swaps.clear()


@pytest.fixture
def policies(tmp_path: Path) -> dict[str, PolicyRef]:
    made = {}
    for version in ("a", "b", "c"):
        folder = small_folder(tmp_path / version, hidden_size=32, vocab_size=400)
        made[version] = PolicyRef(version=version, path=str(folder))
    return made


class StartedPublisher(Publisher):
    """A publisher whose cluster is always large enough."""

    def _check_resources(self) -> None:
        return


def started(
    policies: dict[str, PolicyRef], replicas: int = 2, **settings: Any
) -> tuple[Publisher, SmallEndpoint, RecordHere]:
    published = RecordHere()
    endpoint = SmallEndpoint(published, replicas)
    config = PublisherConfig(port=free_port(), replicas=replicas, **settings)
    publisher = StartedPublisher(config, published, endpoint, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    publisher.start(policies["a"])
    return publisher, endpoint, published


@contextmanager
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_an_endpoint_is_taken_over_from_a_publisher_that_died(policies: dict[str, PolicyRef]) -> None:
    publisher, endpoint, published = started(policies)
    successor = StartedPublisher(publisher._config, published, endpoint)
    successor.attach(policies["a"])
    publication = successor.publish(policies["b"], cycle=1)
    assert (publication.previous, successor.served_version()) == ("a", "b")


def test_an_endpoint_that_was_left_halfway_up_is_taken_down_first(policies: dict[str, PolicyRef]) -> None:
    publisher, endpoint, published = started(policies)
    successor = StartedPublisher(publisher._config, published, endpoint)
    successor.attach(policies["a"])
    successor.start(policies["a"])
    assert len(endpoint.swaps) == 2
    assert successor.served_version() == "a"


def test_a_durable_record_says_the_same_after_its_actor_died(tmp_path: Path, policies: dict[str, PolicyRef]) -> None:
    here = ActorAddress(actor="coordinator", namespace="one")
    published = PolicyOnDisk(here, tmp_path / "published.json")
    assert published.published() is None
    published.record(policies["a"])
    published.record(policies["b"])
    assert PolicyOnDisk(here, tmp_path / "published.json").published() == published.published() == policies["b"]
    elsewhere = ActorAddress(actor="coordinator", namespace="two")
    assert PolicyOnDisk(elsewhere, tmp_path / "published.json").published() is None


class TestConfig:
    def test_cpus_are_those_of_the_replicas(self) -> None:
        assert publisher_cpus(PublisherConfig(replicas=2, cpus_per_replica=1.5)) == pytest.approx(3)

    def test_nothing_is_reserved_when_disabled(self) -> None:
        config = PublisherConfig(enabled=False, gpus_per_replica=1)
        assert publisher_cpus(config) == 0
        assert publisher_gpus(config) == 0

    def test_bundles_add_up_to_what_is_planned(self) -> None:
        config = PublisherConfig(cpus_per_replica=4, gpus_per_replica=2, tensor_parallel_size=2)
        assert replica_bundles(config) == [{"CPU": 2.0, "GPU": 1.0}] * 2
        assert publisher_gpus(config) == 2

    def test_a_fraction_of_a_gpu_is_shared(self) -> None:
        assert replica_bundles(PublisherConfig(gpus_per_replica=0.5)) == [{"CPU": 1.0, "GPU": 0.5}]

    @pytest.mark.parametrize(("gpus", "workers"), [(2, 1), (1, 2), (0.5, 2)])
    def test_gpus_must_fit_the_workers(self, gpus: float, workers: int) -> None:
        with pytest.raises(ValidationError, match="make them equal"):
            PublisherConfig(gpus_per_replica=gpus, tensor_parallel_size=workers)

    def test_threads_are_set_on_cpu_alone(self) -> None:
        assert "OMP_NUM_THREADS" not in replica_environment(PublisherConfig(gpus_per_replica=1))
        assert replica_environment(PublisherConfig(cpus_per_replica=0.5))["OMP_NUM_THREADS"] == "1"

    def test_vllm_is_told_of_a_part_of_a_gpu(self) -> None:
        name = "VLLM_RAY_PER_WORKER_GPUS"
        assert replica_environment(PublisherConfig(gpus_per_replica=0.5))[name] == "0.5"
        whole = (PublisherConfig(), PublisherConfig(gpus_per_replica=2, tensor_parallel_size=2))
        assert not any(name in replica_environment(config) for config in whole)

    def test_unknown_keys_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="replica_count"):
            PublisherConfig.model_validate({"replica_count": 2})


class TestBadInput:
    def test_port_in_use_is_named_before_anything_starts(self, policies: dict[str, PolicyRef]) -> None:
        published = RecordHere()
        with busy_port() as port, pytest.raises(SalusError, match=rf"127\.0\.0\.1:{port}.*publish\.port"):
            Publisher(PublisherConfig(port=port), published, SmallEndpoint(published)).start(policies["a"])
        assert published.holder.published_policy() is None

    def test_free_port_passes(self) -> None:
        check_port_free("127.0.0.1", free_port())

    def test_other_shape(self, policies: dict[str, PolicyRef]) -> None:
        small_folder(Path(policies["b"].path), hidden_size=64, vocab_size=400)
        with pytest.raises(SalusError, match="hidden_size is 64 instead of 32"):
            check_same_shape(policies["a"], policies["b"])

    def test_publish_before_start(self, policies: dict[str, PolicyRef]) -> None:
        with pytest.raises(SalusError, match="call start first"):
            Publisher(PublisherConfig(), RecordHere()).publish(policies["a"], 1)


class TestPublication:
    def test_every_replica_swaps_and_the_record_knows(self, policies: dict[str, PolicyRef]) -> None:
        publisher, endpoint, published = started(policies)
        publication = publisher.publish(policies["b"], 3)
        assert publication == Publication(
            version="b",
            path=policies["b"].path,
            cycle=3,
            published_at="2026-01-01T00:00:00.000+00:00",
            began_at="2026-01-01T00:00:00.000+00:00",
            swap_s=publication.swap_s,
            replicas=2,
            previous="a",
        )
        assert published.holder.published_policy() == policies["b"]
        assert [e.weights for e in endpoint.engines] == [policies["b"].path] * 2
        assert not any(e.paused or e.cached for e in endpoint.engines)
        assert publisher.served_version() == "b"

    def test_all_pause_before_one_loads_and_all_load_before_one_resumes(self, policies: dict[str, PolicyRef]) -> None:
        publisher, endpoint, _ = started(policies)
        publisher.publish(policies["b"], 1)
        assert endpoint.calls == ["begin_swap", "load_policy", "end_swap", "settle"]

    def test_a_former_policy_can_be_published_again(self, policies: dict[str, PolicyRef]) -> None:
        publisher, _, published = started(policies)
        publisher.publish(policies["b"], 1)
        publisher.publish(policies["c"], 2)
        assert publisher.publish(policies["b"], 0).previous == "c"
        assert publisher.publish(policies["a"], 0).previous == "b"
        assert published.holder.published_policy() == policies["a"]

    def test_one_replica_that_cannot_load_leaves_the_old_policy_everywhere(
        self, policies: dict[str, PolicyRef]
    ) -> None:
        publisher, endpoint, published = started(policies)
        endpoint.engines[1].bad.add(policies["b"].path)
        with pytest.raises(SalusError, match=r"b could not be published and a stays.*do not fit"):
            publisher.publish(policies["b"], 1)
        assert [e.weights for e in endpoint.engines] == [policies["a"].path] * 2
        assert not any(e.paused for e in endpoint.engines)
        assert published.holder.published_policy() == policies["a"]
        assert publisher.served_version() == "a"

    def test_answers_that_do_not_end_stop_the_publication(self, policies: dict[str, PolicyRef]) -> None:
        publisher, endpoint, _ = started(policies)
        endpoint.engines[0].busy = True
        with pytest.raises(SalusError, match=r"did not end within 0\.05 s"):
            publisher.publish(policies["b"], 1)
        assert not any(e.paused for e in endpoint.engines)
        assert publisher.served_version() == "a"

    def test_no_replica_alive(self, policies: dict[str, PolicyRef]) -> None:
        publisher, endpoint, published = started(policies)
        endpoint.swaps.clear()
        with pytest.raises(SalusError, match="no replica is alive"):
            publisher.publish(policies["b"], 1)
        assert published.holder.published_policy() == policies["a"]


class TestConvergence:
    """What a replica does that no publisher reached."""

    def test_a_late_replica_goes_to_the_published_policy(self, policies: dict[str, PolicyRef]) -> None:
        publisher, endpoint, _ = started(policies, replicas=1)
        publisher.publish(policies["b"], 1)
        late = endpoint.add(policies["a"])
        asyncio.run(late.follow())
        assert late.state == ReplicaState(policy=policies["b"], paused=False, replica="r1")
        assert endpoint.engines[-1].weights == policies["b"].path

    def test_following_twice_loads_once(self, policies: dict[str, PolicyRef]) -> None:
        _, endpoint, published = started(policies, replicas=1)
        published.record(policies["b"])
        for _ in range(2):
            asyncio.run(endpoint.swaps[0].follow())
        assert endpoint.engines[0].loads == 1

    def test_a_silent_record_changes_nothing(self, policies: dict[str, PolicyRef]) -> None:
        swap = EngineSwap(SmallEngine("a"), RecordHere().ask, drain_timeout_s=1, hold_s=1)
        swap.adopt(policies["a"])
        asyncio.run(swap.follow())
        assert swap.state == ReplicaState(policy=policies["a"], paused=False)

    @pytest.mark.parametrize(("recorded", "expected"), [("a", "a"), ("b", "b")])
    def test_after_a_publisher_dies_half_way_the_record_decides_when_the_hold_ends(
        self, policies: dict[str, PolicyRef], recorded: str, expected: str
    ) -> None:
        published, now = RecordHere(), [0.0]
        published.record(policies["a"])
        engine = SmallEngine(policies["a"].path)
        swap = EngineSwap(engine, published.ask, drain_timeout_s=1, hold_s=60, monotonic=lambda: now[0])
        swap.adopt(policies["a"])

        async def play() -> None:
            await swap.begin_swap()
            await swap.load_policy(policies["b"])
            published.record(policies[recorded])
            now[0] = 59.0
            await swap.follow()
            assert swap.state == ReplicaState(policy=policies["b"], paused=True)
            now[0] = 61.0
            await swap.follow()

        asyncio.run(play())
        assert swap.state == ReplicaState(policy=policies[expected], paused=False)
        assert engine.weights == policies[expected].path

    def test_weights_in_doubt_are_not_served(self, policies: dict[str, PolicyRef]) -> None:
        engine = SmallEngine(policies["a"].path, bad={policies["b"].path})
        published = RecordHere()
        published.record(policies["a"])
        swap = EngineSwap(engine, published.ask, drain_timeout_s=1, hold_s=60)
        swap.adopt(policies["a"])
        with pytest.raises(RayError):
            asyncio.run(swap.load_policy(policies["b"]))
        assert asyncio.run(swap.end_swap()) == ReplicaState(policy=None, paused=True)
        assert asyncio.run(swap.settle()) == ReplicaState(policy=policies["a"], paused=False)


def test_an_open_endpoint_is_refused_where_others_could_come_in() -> None:
    keyless = PublisherConfig(proxy="haproxy")
    with pytest.raises(SalusError, match=r"publish\.proxy=haproxy the replicas listen on every address"):
        check_address(keyless)
    with pytest.raises(SalusError, match=r"0\.0\.0\.0 is not a loopback address"):
        check_address(PublisherConfig(host="0.0.0.0"))
