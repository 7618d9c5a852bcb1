"""A hostile client with an ordinary key harms no other client: the table of `hostile.py` against `salus serve`."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import openai
import psutil
import pytest

from actors.serve.gateway.fields import SAMPLING_FIELDS
from actors.serve.gateway.keys import KeyFile
from tests.e2e.hostile import ANSWER, CONTEXT, HOSTILE, MODEL, Hostile
from tests.e2e.serve_command import Command, registered, serve_command

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

FURTHER_FIELDS = (*SAMPLING_FIELDS, "truncate_prompt_tokens", "use_beam_search", "length_penalty")
# The longest that another client may wait beside any one hostile request.
SLOWEST_S = 2.0
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Endpoint:
    """`salus serve` with its defaults and one small replica, and the keys of two clients."""

    command: Command
    ward: str
    mallory: str
    # An answer that was given to mallory and kept.
    answer: str = ""

    def send(self, key: str, hostile: Hostile) -> int:
        """The status that one request gets; http.client sends a path as it is."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **hostile.headers}
        connection = http.client.HTTPConnection(urlsplit(self.command.url).netloc, timeout=PATIENCE_S)
        try:
            # A body that is too long is refused before it was read to its end.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(hostile.method, hostile.path, self._body(hostile) or None, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def _body(self, hostile: Hostile) -> bytes:
        return hostile.body().replace(ANSWER.encode(), self.answer.encode())

    def ask(self) -> float:
        """Seconds of an ordinary answer to the other client; it must be one."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "How do I store insulin?"}], "max_tokens": 4}
        began = time.monotonic()
        assert self.send(self.ward, Hostile("ordinary", lambda: json.dumps(body).encode())) == 200
        return time.monotonic() - began

    def replicas(self) -> set[int]:
        """The processes of replicas and their engines."""
        found = self.command.server.children(recursive=True)
        return {process.pid for process in found if _is_replica(process)}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    place = tmp_path_factory.mktemp("attacked")
    registry, (base, *_) = registered(place)
    registry.promote(base, "deployed")
    keys = KeyFile(place / "keys.jsonl")
    ward, mallory = keys.add("ward", "client"), keys.add("mallory", "client")
    options = {
        "publish.gateway.keys_file": place / "keys.jsonl",
        # How much each may ask is not what is tested here.
        "publish.gateway.requests_per_minute": "null",
        # More than by default, so that hostile values of these fields reach what is behind the list of fields.
        "publish.gateway.extra_fields": json.dumps({"client": FURTHER_FIELDS}),
        "publish.max_model_len": CONTEXT,
        "publish.feedback.folder": place / "feedback",
        "publish.feedback.capture": "opt_in",
    }
    with serve_command(place, registry, options) as command:
        client = openai.OpenAI(base_url=f"{command.url}/v1", api_key=mallory, max_retries=0)
        kept = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "How do I store insulin?"}], max_tokens=4, store=True
        )
        yield Endpoint(command, ward, mallory, kept.id)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_no_hostile_request_harms_another_client(endpoint: Endpoint, hostile: Hostile) -> None:
    before = endpoint.replicas()
    with ThreadPoolExecutor(hostile.times) as clients, _asking(endpoint.ask) as waits:
        statuses = set(clients.map(lambda _: endpoint.send(endpoint.mallory, hostile), range(hostile.times)))
    print(f"{hostile.name}: {sorted(statuses)}, another client's slowest of {len(waits)} answers {max(waits):.2f} s")
    assert statuses <= hostile.statuses
    assert waits and max(waits) <= SLOWEST_S
    assert endpoint.replicas() == before


class _asking:
    """Asks all the time while its block runs, once at the least; what an answer took, in seconds."""

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._waits: list[float] = []
        self._fault: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> list[float]:
        self._thread.start()
        return self._waits

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def _ask_on(self) -> None:
        try:
            while True:
                self._waits.append(self._ask())
                if self._stopped.is_set():
                    return
        except BaseException as error:
            self._fault = error


def _is_replica(process: psutil.Process) -> bool:
    try:
        title = "".join(process.cmdline())
    except psutil.Error:
        return False
    return "PolicyServer" in title or "EngineCore" in title
