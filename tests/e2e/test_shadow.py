"""Shadow mode of `salus serve` on the real stack: unseen, redacted, durable, and nothing serving depends on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.port import Sampling
from actors.serve.feedback.journal import read
from actors.serve.feedback.redaction import RuleRedactor
from actors.serve.shadow.records import SHADOW
from pipelines.serving.shadow.report import JUDGMENTS, REPORT, ShadowReport
from pipelines.serving.shadow.service import find_challenger
from tests.e2e.serve_command import SALUS, registered, serve_command
from tests.transformers_engine import TransformersEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

QUESTIONS = ("My name is Anna Lind. What helps?", "How do I store insulin?", "My aunt needs a refill.")
TOKENS = 12
WAIT_S = 240.0


@dataclass(frozen=True)
class Served:
    """An endpoint with a challenger beside, and what transformers says that each of the two answers."""

    url: str
    server: psutil.Popen
    log: Path
    folder: Path
    live: PolicyRef
    challenger: PolicyRef
    answers: dict[str, dict[str, str]]

    def ask(self, question: str, stream: bool = False, **more: Any) -> tuple[str, str, str]:
        """An answer's id, its text, and the policy that gave it."""
        body = {
            "model": "salus",
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": TOKENS,
            "stream": stream,
            **more,
        }
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            policy, raw = reply.headers["x-salus-policy"], reply.read().decode()
        if not stream:
            said = json.loads(raw)
            return said["id"], said["choices"][0]["message"]["content"], policy
        lines = [line.removeprefix("data: ") for line in raw.split("\n") if line.startswith("data: {")]
        events = [json.loads(line) for line in lines]
        text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
        return events[0]["id"], text, policy

    def ask_all(self, questions: Sequence[str], **more: Any) -> dict[str, str]:
        """Ids of answers to questions that may be kept, each with its question; every answer is the live policy's."""
        asked: dict[str, str] = {}
        for number, question in enumerate(questions):
            answer_id, text, policy = self.ask(question, stream=bool(number % 2), store=True, **more)
            assert (whole(text), policy) == (self.answers[self.live.version][question], self.live.version)
            asked[answer_id] = question
        return asked

    def kept(self) -> dict[str, dict[str, Any]]:
        return {row["answer_id"]: row for row in read(self.folder / SHADOW.name, SHADOW).to_pylist()}

    def outcomes(self) -> dict[str, int]:
        """What the replica says became of the chat requests it answered."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as reply:
            found = re.findall(r'salus_shadow_total\{outcome="(\w+)"\} ([\d.]+)', reply.read().decode())
        return {outcome: int(float(count)) for outcome, count in found}

    def shadows(self) -> list[psutil.Process]:
        return [p for p in self.server.children(recursive=True) if "VllmShadow" in "".join(cmdline(p))]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def wait_until(there: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def whole(text: str) -> str:
    """Without the character that an answer's end cut in two, which vLLM leaves out and transformers does not."""
    return text.rstrip("\ufffd")


def greedy(policy: PolicyRef) -> dict[str, str]:
    engine = TransformersEngine(policy)
    tokens = [chat_tokens(engine.tokenizer, question) for question in QUESTIONS]
    found = engine.generate(tokens, Sampling(k=1, temperature=0, max_tokens=TOKENS), [0] * len(tokens))
    return {question: whole(answer.text) for question, (answer,) in zip(QUESTIONS, found, strict=True)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("shadowed")
    registry, (_, kto, dpo) = registered(place)
    registry.promote(kto, "live")
    live, challenger = (find_challenger(version, registry) for version in (kto, dpo))
    options = {
        "publish.proxy": "serve",
        "publish.gateway.open": "true",
        "shadow.policy": dpo,
        "shadow.share": 1,
        "shadow.cpus": 0.5,
        "shadow.kv_cache_gib": 0.0625,
        "shadow.batch_wait_s": 0.2,
    }
    with serve_command(place, registry, options) as command:
        yield Served(
            url=command.url,
            server=command.server,
            log=command.log,
            folder=registry.root / "shadow",
            live=live,
            challenger=challenger,
            answers={policy.version: greedy(policy) for policy in (live, challenger)},
        )


def test_the_terminal_says_what_is_kept_and_when_it_is_up(served: Served) -> None:
    said = f'shadow: {served.challenger.version} answers 100% of requests that say "store": true, unseen'
    assert said in served.log.read_text()
    wait_until(lambda: f"shadow: {served.challenger.version} is up" in served.log.read_text(), served.log.read_text)


def test_live_answers_are_the_live_policys_and_records_hold_the_challengers(served: Served) -> None:
    live, challenger = (served.answers[policy.version] for policy in (served.live, served.challenger))
    assert all(live[question] != challenger[question] for question in QUESTIONS)
    asked = served.ask_all(QUESTIONS * 4)
    wait_until(lambda: served.kept().keys() >= asked.keys(), served.outcomes)
    redact = RuleRedactor().redact
    for answer_id, row in served.kept().items():
        question = asked[answer_id]
        assert row["prompt"] == redact(question) and "Anna" not in json.dumps(row, default=str)
        assert (row["policy"], whole(row["answer"])) == (served.live.version, redact(live[question]))
        assert row["challenger"] == served.challenger.version
        assert whole(row["challenger_answer"]) == redact(challenger[question])
    wait_until(lambda: served.outcomes().get("stored") == len(asked), served.outcomes)


def test_who_did_not_ask_to_be_kept_is_answered_alone(served: Served) -> None:
    before = served.kept().keys()
    ids = {served.ask(question)[0] for question in QUESTIONS}
    # Behind them in the queue.
    asked = served.ask_all(QUESTIONS[:1])
    wait_until(lambda: served.kept().keys() >= asked.keys(), served.outcomes)
    assert served.kept().keys() == before | asked.keys() and not ids & served.kept().keys()
    assert served.outcomes()["not_asked"] >= len(ids)


def test_a_killed_shadow_loses_nothing_it_acknowledged_and_serving_goes_on(served: Served) -> None:
    before = served.kept()
    acknowledged = served.outcomes()["stored"]
    assert acknowledged == len(before)
    # Some of these are with it when it dies.
    under_way = served.ask_all(QUESTIONS * 3)
    (shadow,) = served.shadows()
    shadow.kill()
    after = served.ask_all(QUESTIONS * 5)
    assert served.kept().items() >= before.items()
    # Ray hands them over again to the one in its place.
    wanted = before.keys() | under_way.keys() | after.keys()
    wait_until(lambda: served.kept().keys() >= wanted, lambda: (served.outcomes(), served.log.read_text()))
    assert served.kept().keys() == wanted
    (again,) = served.shadows()
    assert again.pid != shadow.pid
    assert "fault" not in served.outcomes() and "dropped" not in served.outcomes()


def test_the_report_is_made_beside_the_records(served: Served) -> None:
    kept = served.kept()
    served.server.send_signal(signal.SIGTERM)
    assert served.server.wait(timeout=120) == 0
    order = ["shadow", "report", "demo", "--folder", str(served.folder)]
    made = subprocess.run(
        [*SALUS, *order, "--set", "judge.regimen=RULES", "--set", "judge.truth=null"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "160"},
    )
    assert made.returncode == 0, made.stderr
    assert f"{served.challenger.version} in the shadow of {served.live.version}" in " ".join(made.stdout.split())
    out = served.folder / "judged-rules"
    report = ShadowReport.model_validate_json((out / REPORT).read_text())
    (found,) = report.comparisons
    assert (found.requests, found.paired, found.same_answers) == (len(kept), len(kept), 0)
    assert pq.read_metadata(out / JUDGMENTS).num_rows == 2 * len(kept)
    print(made.stdout)
