"""`salus serve` as a team runs it: keys, feedback, pages, a rollback from another terminal, a fuzzer at the door."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from actors.files.leftovers import session_of
from actors.serve.address import check_port_free
from actors.serve.api.requests import ChatFields, CompletionFields
from actors.serve.feedback.journal import read
from actors.serve.feedback.records import CAPTURES, FEEDBACK
from actors.serve.gateway.keys import KeyFile
from tests.e2e.serve_command import SALUS, registered, serve_command
from tests.half_open import HALF_BODY, HALF_HEADER, NOTHING, half_open

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Team:
    """An endpoint that a command serves, what it serves from, and keys to it."""

    url: str
    server: psutil.Popen
    registry: Path
    feedback: Path
    client: str
    reviewer: str
    base: str
    tuned: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str, key: str | None) -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=30) as reply:
            return json.load(reply) if "json" in reply.headers["content-type"] else reply.read().decode()

    def post(self, path: str, key: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=json.dumps(body).encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def ask(self, question: str = "My name is Anna Lind. What helps?", **more: Any) -> tuple[str, str]:
        """An answer's id, and the policy that gave it."""
        with openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.client, max_retries=0) as client:
            raw = client.chat.completions.with_raw_response.create(
                model="salus",
                messages=[{"role": "user", "content": question}],
                max_tokens=16,
                **more,
            )
        return raw.parse().id, raw.headers["x-salus-policy"]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    place = tmp_path_factory.mktemp("team")
    registry, (base, tuned, _) = registered(place)
    registry.promote(base, "deployed")
    registry.promote(tuned, "better")
    keys = KeyFile(place / "keys.jsonl")
    client, reviewer = keys.add("ward", "client"), keys.add("anna", "reviewer")
    options = {
        "publish.gateway.keys_file": place / "keys.jsonl",
        "publish.gateway.requests_per_minute": "null",
        "publish.feedback.folder": place / "feedback",
        "publish.feedback.capture": "opt_in",
        "publish.feedback.redactor": "tests.actors.serve.feedback.hooks:rules_or_hangs",
        "pages.labels": place / "labels",
    }
    with serve_command(place, registry, options) as command:
        yield Team(
            url=command.url,
            server=command.server,
            registry=registry.root,
            feedback=place / "feedback",
            client=client,
            reviewer=reviewer,
            base=base,
            tuned=tuned,
        )


def test_a_rollback_from_another_terminal_is_live_in_seconds(team: Team) -> None:
    assert team.ask()[1] == team.tuned
    done = subprocess.run(
        [*SALUS, "rollback", "--registry", str(team.registry), "--reason", "too careful"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"{team.base} is live again at {team.url} after" in done.stdout
    seconds = float(done.stdout.split("after ")[1].split(" s")[0])
    print(f"live again after {seconds} s")
    assert team.ask()[1] == team.base
    # What the command line itself takes comes on top.
    assert seconds < 30


def test_feedback_is_kept_with_what_was_said_about_names(team: Team) -> None:
    unasked, _ = team.ask()
    answer, policy = team.ask(store=True)
    assert team.post("/v1/feedback", team.client, {"answer_id": answer, "verdict": "down"})["answer_id"] == answer
    with pytest.raises(urllib.error.HTTPError, match="404"):
        team.post("/v1/feedback", team.client, {"answer_id": unasked, "verdict": "down"})
    kept = read(team.feedback / CAPTURES.name, CAPTURES).to_pylist()
    assert [(row["answer_id"], row["policy"], row["caller"]) for row in kept] == [(answer, policy, "ward")]
    assert "Anna" not in json.dumps(kept[0], default=str) and "[NAME]" in kept[0]["prompt"]
    assert [row["verdict"] for row in read(team.feedback / FEEDBACK.name, FEEDBACK).to_pylist()] == ["down"]


def test_a_redactor_that_hangs_holds_up_no_answer_and_its_text_is_not_kept(team: Team) -> None:
    hanging = [threading.Thread(target=team.ask, args=("hang",), kwargs={"store": True}) for _ in range(3)]
    for thread in hanging:
        thread.start()
    slowest = 0.0
    # Longer than one text may take, so that processes are ended and begun anew meanwhile.
    until = time.monotonic() + 8
    while time.monotonic() < until:
        begun = time.monotonic()
        team.ask()
        slowest = max(slowest, time.monotonic() - begun)
    for thread in hanging:
        thread.join()
    print(f"slowest answer beside texts that hang: {slowest:.2f} s")
    assert slowest < 2.0
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        said = {"answer_id": "mine", "verdict": "up", "comment": "hang", "prompt": "p", "answer": "a"}
        team.post("/v1/feedback", team.client, said)
    assert "comment could not be redacted in time" in refused.value.read().decode()
    answer, _ = team.ask(store=True)
    assert team.post("/v1/feedback", team.client, {"answer_id": answer, "verdict": "up"})["answer_id"] == answer
    kept = read(team.feedback / CAPTURES.name, CAPTURES).to_pylist()
    assert "hang" not in [row["prompt"] for row in kept]
    assert 'salus_capture_total{outcome="not_redacted"}' in team.get("/metrics", team.reviewer)


def test_the_pages_are_for_reviewers_and_show_what_is_there(team: Team) -> None:
    for path in ("/review", "/dashboard"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            team.get(path, None)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            team.get(path, team.client)
        assert "<html" in team.get(path, team.reviewer)
    (item, *_) = team.get("/review/next?n=3", team.reviewer)["items"]
    progress = team.post("/review/label", team.reviewer, {"key": item["key"], "label": "Refuse"})
    assert item["key"] not in [again["key"] for again in team.get("/review/next?n=10", team.reviewer)["items"]]
    assert progress is not None
    team.ask()
    board = team.get("/dashboard/data", team.reviewer)
    assert board["traffic"]["requests"] >= 1 and board["traffic"]["errors"] == 0
    assert len(board["data"]["decisions"]) == 2
    assert "salus" in team.get("/metrics", team.reviewer)


def test_a_fuzzer_finds_no_server_error(team: Team) -> None:
    document = team.get("/openapi.json", team.client)
    ours = {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/feedback", "/health", "/ready"}
    document["paths"] = {path: item for path, item in document["paths"].items() if path in ours}
    # Others are refused before vLLM sees them; what the fuzzer makes is to get there.
    for name, taken in (("ChatCompletionRequest", ChatFields), ("CompletionRequest", CompletionFields)):
        shape = document["components"]["schemas"][name]
        shape["properties"] = {name: field for name, field in shape["properties"].items() if name in taken.model_fields}
        shape["additionalProperties"] = False
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = team.url
    statuses: set[int] = set()
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) >= 4

    for operation in operations:

        @settings(
            max_examples=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def fuzz(case: Any) -> None:
            reply = case.call(headers={"Authorization": f"Bearer {team.client}"}, timeout=60)
            statuses.add(reply.status_code)
            assert reply.status_code < 500, (case.method, case.path, reply.status_code, reply.text[:300])

        fuzz()
    assert {200, 400} <= statuses


def test_without_a_key_nothing_but_health_is_told(team: Team) -> None:
    assert team.get("/-/healthz", None) == "success"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        team.get("/-/routes", team.client)


@pytest.mark.parametrize("sent", [NOTHING, HALF_HEADER, HALF_BODY])
def test_a_client_is_answered_beside_thousands_of_half_open_connections(team: Team, sent: bytes) -> None:
    with half_open(team.port, 4300, sent) as opened:
        took = []
        for _ in range(10):
            began = time.monotonic()
            team.ask()
            took.append(time.monotonic() - began)
        print(f"slowest of 10 beside {opened.count} connections: {max(took):.2f} s")
        assert max(took) < 2.0


def test_it_ends_when_told_and_leaves_nothing_whatever_its_clients_do(team: Team) -> None:
    started = [team.server, *team.server.children(recursive=True)]
    (session,) = {session_of(process.pid) for process in started} - {None}
    assert session is not None and any("haproxy" in process.name() for process in started)
    with half_open(team.port, 4300, HALF_BODY):
        team.server.send_signal(signal.SIGTERM)
        assert team.server.wait(timeout=120) == 0
    assert psutil.wait_procs(started, timeout=60)[1] == []
    assert list((team.registry / "serving").glob("*.json")) == []
    assert not session.exists()
    check_port_free("127.0.0.1", team.port)
    assert [path for path in team.feedback.rglob("*") if path.stat().st_mode & 0o077] == []
    assert [path for path in team.registry.rglob("*") if path.stat().st_mode & 0o077] == []
