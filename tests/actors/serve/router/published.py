"""A routed publisher of small parts: real publishers and lanes, over engines and routers of this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ray.exceptions import RayError

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.config import PublisherConfig, SmokeConfig
from actors.serve.router.actor import RouteTable
from actors.serve.router.applications import Application
from actors.serve.router.endpoint import RouterCall
from actors.serve.router.fits import EngineSettings, engine_config
from actors.serve.router.lanes import RouterLanes, RouterState
from actors.serve.router.publisher import RoutedPublisher
from actors.serve.router.routes import KnownRoute, Route
from tests.actors.serve.publisher.test_publisher import RecordHere, SmallEndpoint, StartedPublisher
from tests.actors.serve.router.standing import route
from tests.small_folder import small_folder


class SmallRouter:
    """Router replicas in this process; records what is said to them and to the route table. Raises where told to."""

    def __init__(self, replicas: int = 2) -> None:
        self.table = RouteTable(60)
        self.swaps = [RouterLanes(self._ask, drain_timeout_s=0.05, hold_s=60) for _ in range(replicas)]
        self.said: list[str] = []
        self.broken: set[str] = set()
        # The call after which the route table is gone.
        self.tableless_after: str | None = None

    async def _ask(self) -> tuple[KnownRoute, ...]:
        if self.tableless_after in self.said:
            raise ValueError("no such actor")
        return self.table.routes()

    def move(self, model: str) -> None:
        self.said.append("move")
        self.table.move(model)

    def record(self, route: Route) -> None:
        if self.tableless_after in self.said:
            raise SalusError("the route table is gone")
        self.said.append("record")
        self.table.record(route)

    def forget(self, model: str) -> None:
        self.table.forget(model)

    def everywhere(self, call: RouterCall, route: Route) -> list[RouterState]:
        self.said.append(call)
        if call in self.broken:
            raise RayError(f"no {call} today")

        async def play() -> list[RouterState]:
            return list(await asyncio.gather(*(getattr(lanes, call)(route) for lanes in self.swaps)))

        return asyncio.run(play())

    @property
    def leads_to(self) -> set[int]:
        return {lane.route.generation for lanes in self.swaps for lane in lanes.lanes.values()}

    @property
    def held(self) -> bool:
        return any(lanes.state.held for lanes in self.swaps)


class SmallApplications:
    """Makes applications in this process, of publishers over small engines; some versions do not start."""

    def __init__(self) -> None:
        self.endpoints: list[SmallEndpoint] = []
        self.unfit: set[str] = set()
        # What each policy's engine answers, by the policy's path.
        self.says: dict[str, str] = {}
        self.closed = False

    def make(self, config: PublisherConfig, generation: int) -> Application:
        table = RecordHere()
        endpoint = _Endpoint(table, config.replicas, self.unfit)
        endpoint.says = self.says
        self.endpoints.append(endpoint)
        return Application(config, route("clinic", generation), StartedPublisher(config, table, endpoint))

    def close(self) -> None:
        self.closed = True

    @property
    def up(self) -> list[int]:
        """The generations that stand."""
        return [number for number, endpoint in enumerate(self.endpoints, start=1) if endpoint.swaps]


class _Endpoint(SmallEndpoint):
    def __init__(self, table: RecordHere, replicas: int, unfit: set[str]) -> None:
        super().__init__(table, replicas)
        self._unfit = unfit

    def start(self, policy: PolicyRef, table: object) -> None:
        if policy.version in self._unfit:
            raise SalusError("weights do not fit")
        for _ in range(self._replicas):
            self.add(policy)


class Ward:
    """A routed publisher and all it works with."""

    def __init__(self, tmp_path: Path) -> None:
        self.router = SmallRouter()
        self.applications = SmallApplications()
        self.engines: dict[str, EngineSettings] = {}
        self.room: str | None = None
        self.smoke: SmokeConfig | None = None
        self.policies = {
            version: _policy(tmp_path, version, hidden)
            for version, hidden in (("a", 32), ("b", 32), ("wide", 64), ("wider", 96))
        }
        self.publisher = RoutedPublisher(
            "clinic", "http://127.0.0.1:8000", self.router, self.applications, self._fit, self._check_room
        )

    def _fit(self, policy: PolicyRef) -> PublisherConfig:
        return engine_config(
            PublisherConfig(replicas=2, smoke=self.smoke), self.engines.get(policy.version, EngineSettings())
        )

    def _check_room(self, config: PublisherConfig, version: str, beside: str) -> None:
        if self.room is not None:
            raise SalusError(self.room)


def _policy(root: Path, version: str, hidden: int) -> PolicyRef:
    return PolicyRef(version=version, path=str(small_folder(root / version, hidden_size=hidden)))
