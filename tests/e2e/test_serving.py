"""Two replicas behind HAProxy under a steady load, through publications, rollback and a death; and openai's client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import openai
import psutil
import pytest

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.serve.config import PublisherConfig, publisher_cpus
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.keys import KeyFile
from actors.serve.publisher.publisher import Publisher
from actors.serve.replica.published import PolicyInActor
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from tests.e2e.processes import processes
from tests.e2e.test_publisher_serve import QUESTIONS, TOKENS, greedy_tokens, make_policy
from tests.free_port import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

REQUESTS = 4000
CLIENTS = 8
LONGEST = 32
# What the load asks for beside OpenAI's fields, and the worst of what settings may allow.
EXTRA = ("min_tokens", "return_token_ids", "structured_outputs", "use_beam_search", "length_penalty")
# A replica takes so long to come back on two busy cores.
RESTART_S = 180.0


@dataclass(frozen=True)
class Answered:
    """One request as its client saw it; times of one clock."""

    sent: float
    done: float
    question: int
    # None: it was not answered.
    version: str | None
    tokens: list[int]


@dataclass
class Traffic:
    """Clients that ask all the time, each the next question once it is answered. Life: start -> stop."""

    url: str
    key: str
    model: str = "salus"
    clients: int = CLIENTS
    answers: list[Answered] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Traffic:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_on()))
        self._thread.start()
        return self

    def stop(self) -> list[Answered]:
        self._stopped.set()
        self._thread.join()
        return sorted(self.answers, key=lambda answer: answer.sent)

    async def _ask_on(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(60)) as session:
            await asyncio.gather(*(self._client(session, worker) for worker in range(self.clients)))

    async def _client(self, session: aiohttp.ClientSession, worker: int) -> None:
        number = worker
        while not self._stopped.is_set():
            self.answers.append(await self._ask(session, number % len(QUESTIONS), stream=number % 3 == 0))
            number += 1

    async def _ask(self, session: aiohttp.ClientSession, question: int, *, stream: bool) -> Answered:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": QUESTIONS[question]}],
            **{"temperature": 0, "max_tokens": TOKENS, "min_tokens": TOKENS, "return_token_ids": True},
            "stream": stream,
        }
        sent = time.monotonic()
        version, tokens = None, list[int]()
        try:
            async with session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                text = await response.text()
                if response.status == 200:
                    tokens = token_ids(text, stream=stream)
                    version = response.headers["x-salus-policy"] if len(tokens) == TOKENS else None
        except aiohttp.ClientError:
            version = None
        return Answered(sent, time.monotonic(), question, version, tokens)


def token_ids(text: str, *, stream: bool) -> list[int]:
    if not stream:
        ids: list[int] = json.loads(text)["choices"][0]["token_ids"]
        return ids
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    parts = [json.loads(event).get("choices", []) for event in events if event != "[DONE]"]
    return [token for choices in parts for choice in choices for token in choice.get("token_ids") or []]


@dataclass(frozen=True)
class Serving:
    """One endpoint of two replicas, a client's key to it, and what each of two policies answers."""

    publisher: Publisher
    key: str
    a: PolicyRef
    b: PolicyRef
    expected: dict[str, list[list[int]]]

    @property
    def base(self) -> str:
        return f"{self.publisher.url}/v1"

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base, api_key=self.key, timeout=60, max_retries=0)


def config_of_two(keys: Path, **more: Any) -> PublisherConfig:
    """Two replicas behind HAProxy on two cores, for whoever has a key of this file."""
    return PublisherConfig(
        proxy="haproxy",
        replicas=2,
        port=free_port(),
        cpus_per_replica=0.5,
        kv_cache_gib=0.0625,
        max_model_len=256,
        # As salus serve has it.
        gateway=GatewayConfig(
            keys_file=keys, requests_per_minute=None, max_tokens_per_request=LONGEST, extra_fields={"client": EXTRA}
        ),
        **more,
    )


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    a, b = make_policy(folder, "a", 1), make_policy(folder, "b", 2)
    keys = folder / "keys.jsonl"
    key = KeyFile(keys).add("clinic", "client")
    config = config_of_two(keys)
    up = ExitStack()
    up.enter_context(embedded_ray(ClusterConfig(), "serving-test", publisher_cpus(config) + 1, config))
    publisher = Publisher(config, PolicyInActor(ActorAddress(namespace="serving-test")))
    try:
        publisher.start(a)
        expected = {p.version: [greedy_tokens(p, question) for question in QUESTIONS] for p in (a, b)}
        yield Serving(publisher, key, a, b, expected)
    finally:
        publisher.stop()
        up.close()


@dataclass(frozen=True)
class Swap:
    """A publication while clients asked."""

    version: str
    began: float
    ended: float


def swap(do: Callable[[], Any], version: str) -> Swap:
    began = time.monotonic()
    do()
    return Swap(version, began, time.monotonic())


def test_what_haproxy_says_of_itself_is_for_this_machine_alone(serving: Serving) -> None:
    folder = os.environ["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"]
    proxies = [process for process in psutil.process_iter() if any(folder in part for part in cmdline(process))]
    assert proxies
    found = {c.laddr.ip for process in proxies for c in process.net_connections("inet") if c.status == "LISTEN"}
    assert found == {"127.0.0.1"}


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_publications_a_rollback_and_a_death_lose_and_mix_nothing(serving: Serving) -> None:
    publisher, a, b = serving.publisher, serving.a, serving.b
    traffic = Traffic(publisher.url, serving.key).start()
    time.sleep(5)
    swaps = [swap(lambda: publisher.publish(b, 1), "b")]
    time.sleep(3)
    killed = processes("PolicyServer")[0]
    engines = killed.children(recursive=True)
    assert engines
    os.kill(killed.pid, signal.SIGKILL)
    death = time.monotonic()
    wait_for_two(publisher, "b")
    assert psutil.wait_procs(engines, timeout=10)[1] == []
    time.sleep(3)
    swaps.append(swap(lambda: publisher.publish(a, 2), "a"))
    time.sleep(3)
    swaps.append(swap(lambda: publisher.publish(b, 3), "b"))
    time.sleep(3)
    swaps.append(swap(lambda: publisher.publish(a, 0, trial=False), "a"))
    time.sleep(3)
    while len(traffic.answers) < REQUESTS:
        time.sleep(1)
    answers = traffic.stop()
    failed = [answer for answer in answers if answer.version is None]
    good = [answer for answer in answers if answer.version is not None]
    steady, during = latencies(good, swaps, death)
    print(f"{len(answers)} requests, {len(failed)} failed; p99 {steady:.3f} s, across a swap {during:.3f} s; swaps of")
    print(", ".join(f"{each.ended - each.began:.2f} s" for each in swaps))
    # Only what the dead replica was answering at that moment, and at most all its clients.
    assert len(failed) <= CLIENTS and all(answer.sent <= death + 1 and answer.done >= death for answer in failed)
    assert all(answer.tokens == serving.expected[answer.version][answer.question] for answer in good if answer.version)
    check_order(good, swaps, first="a")
    longest = max(answer.done - answer.sent for answer in good if steady_at(answer, swaps, death))
    assert during <= 2 * steady + longest


def wait_for_two(publisher: Publisher, version: str) -> None:
    """Until both replicas are there again and serve this version."""
    deadline = time.monotonic() + RESTART_S
    while publisher.replica_versions() != [version, version]:
        assert time.monotonic() < deadline, "the killed replica did not come back"
        time.sleep(1)


def check_order(good: list[Answered], swaps: list[Swap], first: str) -> None:
    """Every answer is of a policy that was live while it was under way, and none old once one was new."""
    for number, each in enumerate(swaps):
        before = swaps[number - 1].version if number else first
        until = swaps[number + 1].began if number + 1 < len(swaps) else float("inf")
        crossing = [x for x in good if x.done >= each.began and x.sent <= until]
        first_new = min(x.done for x in crossing if x.version == each.version)
        assert {x.version for x in good if first_new < x.sent and x.done < until} == {each.version}
        since = swaps[number - 1].ended if number else 0.0
        assert {x.version for x in good if since < x.sent and x.done < each.began} == {before}


def steady_at(answer: Answered, swaps: list[Swap], death: float) -> bool:
    """Whether nothing happened while it was under way, nor while a replica was missing."""
    quiet = all(answer.done < each.began or answer.sent > each.ended for each in swaps)
    return quiet and (answer.done < death or answer.sent > swaps[1].began)


def latencies(good: list[Answered], swaps: list[Swap], death: float) -> tuple[float, float]:
    """The 99th percentile, in seconds, when nothing happens; and of the answers that were under way in a swap."""
    steady = [x.done - x.sent for x in good if steady_at(x, swaps, death)]
    during = [x.done - x.sent for x in good if any(x.sent <= s.ended and x.done >= s.began for s in swaps)]
    return float(np.quantile(steady, 0.99)), float(np.quantile(during, 0.99))


def test_openais_client_sync_and_streamed(serving: Serving) -> None:
    with serving.client() as client:
        assert [model.id for model in client.models.list()] == ["salus"]
        messages: Any = [{"role": "user", "content": QUESTIONS[1]}]
        whole = client.chat.completions.create(model="salus", messages=messages, temperature=0, max_tokens=8)
        stream = client.chat.completions.create(
            model="salus", messages=messages, temperature=0, max_tokens=8, stream=True
        )
        parts = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert parts == whole.choices[0].message.content
        assert whole.usage is not None and whole.usage.completion_tokens == 8
        plain = client.completions.create(model="salus", prompt="My aunt", temperature=0, max_tokens=4)
        assert plain.usage is not None and plain.usage.completion_tokens == 4
        raw = client.chat.completions.with_raw_response.create(model="salus", messages=messages, max_tokens=1)
        assert raw.headers["x-salus-policy"] == serving.publisher.served_version()


def test_openais_client_asks_for_responses_whole_and_streamed(serving: Serving) -> None:
    asked: Any = {"model": "salus", "temperature": 0, "max_output_tokens": 8}
    tools: Any = [{"type": "function", "name": "dose", "parameters": {}}]
    with serving.client() as client:
        messages: Any = [{"role": "user", "content": QUESTIONS[1]}]
        chat = client.chat.completions.create(model="salus", messages=messages, temperature=0, max_tokens=8)
        expected = chat.choices[0].message.content
        raw = client.responses.with_raw_response.create(input=QUESTIONS[1], **asked)
        whole = raw.parse()
        assert raw.headers["x-salus-policy"] in ("a", "b")
        assert whole.output_text == expected and whole.id.startswith("resp_")
        assert whole.usage is not None and chat.usage is not None
        assert whole.usage.input_tokens == chat.usage.prompt_tokens
        with client.responses.stream(input=QUESTIONS[1], **asked) as stream:
            pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert "".join(pieces) == final.output_text == expected
        # The turns go with the request: none is kept here.
        turns: Any = [*messages, *(item.model_dump() for item in whole.output), {"role": "user", "content": "Why?"}]
        assert client.responses.create(input=turns, instructions="Be brief.", **asked).status in (
            "completed",
            "incomplete",
        )
        with pytest.raises(openai.BadRequestError, match="send the whole conversation as input"):
            client.responses.create(input="Why?", previous_response_id=whole.id, **asked)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(whole.id)
        with pytest.raises(openai.BadRequestError, match=r"publish\.engine_extra"):
            client.responses.create(input="Hi", tools=tools, **asked)
        schema = {"type": "object", "properties": {"mg": {"type": "integer"}}, "required": ["mg"]}
        form: Any = {"format": {"type": "json_schema", "name": "dose", "schema": schema}}
        told = client.responses.create(input="How much?", text=form, **{**asked, "max_output_tokens": LONGEST})
        assert told.output_text.lstrip().startswith("{")
        with pytest.raises(openai.BadRequestError, match="max_output_tokens"):
            client.responses.create(input="Hi", **{**asked, "max_output_tokens": LONGEST + 1})


def test_openais_client_async(serving: Serving) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=serving.base, api_key=serving.key, timeout=60) as client:
            messages: Any = [{"role": "user", "content": QUESTIONS[0]}]
            replies = await asyncio.gather(
                *(
                    client.chat.completions.create(model="salus", messages=messages, temperature=0, max_tokens=6)
                    for _ in range(4)
                )
            )
        return [reply.choices[0].message.content for reply in replies]

    assert len(set(asyncio.run(ask()))) == 1


def test_what_a_client_may_get_wrong(serving: Serving) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    with serving.client() as client:
        with openai.OpenAI(base_url=serving.base, api_key="salus_wrong", max_retries=0) as stranger:
            with pytest.raises(openai.AuthenticationError):
                stranger.chat.completions.create(model="salus", messages=messages)
            with pytest.raises(openai.AuthenticationError):
                stranger.models.list()
        with pytest.raises(openai.BadRequestError, match=r"context length|maximum"):
            client.chat.completions.create(
                model="salus", messages=[{"role": "user", "content": "refill " * 400}], max_tokens=4
            )
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="another", messages=messages)
    assert status_of(serving, b'{"model": "salus", "messages": [') == 400
    assert status_of(serving, b'{"model": "salus", "messages": 5}') == 400


def status_of(serving: Serving, body: bytes) -> int:
    return said_to(serving, body)[0]


def said_to(serving: Serving, body: bytes, path: str = "chat/completions", **more: str) -> tuple[int, Any]:
    """The status and the JSON of the answer to one body."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {serving.key}", **more}
    request = urllib.request.Request(f"{serving.base}/{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status), json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


HELLO: dict[str, Any] = {"model": "salus", "messages": [{"role": "user", "content": QUESTIONS[2]}]}
HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"request_id": "another's"}, "request_id"),
    ({"prompt_logprobs": 20}, "prompt_logprobs"),
    ({"cache_salt": "x"}, "cache_salt"),
    ({"chat_template": "{{ cycler.__init__.__globals__ }}"}, "chat_template"),
    ({"messages": [{"role": "root", "content": "x"}]}, "messages.0.role"),
    ({"use_beam_search": True, "n": 2, "length_penalty": -1e308}, "length_penalty"),
    ({"structured_outputs": {"grammar": "root ::= root"}}, "structured_outputs.grammar"),
    ({"structured_outputs": {"grammar": "a ::= b"}}, "structured_outputs.grammar"),
    ({"structured_outputs": {"regex": "((("}}, "structured_outputs.regex"),
    ({"structured_outputs": {"choice": ["x" * 40_000]}}, "structured_outputs.choice"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"$ref": "#"}}}}, "response_f"),
]


def test_what_is_not_a_clients_to_ask_for_is_a_400_that_names_it(serving: Serving) -> None:
    for fields, param in HOSTILE:
        status, said = said_to(serving, json.dumps({**HELLO, **fields}).encode())
        assert (status, said["error"]["param"].startswith(param)) == (400, True), (fields, said)
    # Its first letter can be said, and nothing after it: the engine alone finds out.
    stuck = {**HELLO, "structured_outputs": {"grammar": 'root ::= "a" b\nb ::= b'}}
    status, said = said_to(serving, json.dumps(stuck).encode())
    assert (status, said["error"]["code"]) == (400, "invalid_constraint")
    good = {**HELLO, "structured_outputs": {"choice": ["Yes.", "No."]}}
    status, said = said_to(serving, json.dumps(good).encode())
    assert status == 200 and said["choices"][0]["message"]["content"] in ("Yes.", "No.")


TOOLS = [{"type": "function", "function": {"name": "dose", "parameters": {"type": "object"}}}]
CALL = {"id": "1", "type": "function", "function": {"name": "dose", "arguments": "no JSON"}}
# What a client may well send, in order or not.
ODD: list[dict[str, Any]] = [
    {"tools": TOOLS, "tool_choice": "auto"},
    {"tools": TOOLS, "tool_choice": "required"},
    {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "dose"}}},
    {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "another"}}},
    {"tools": [], "tool_choice": "required"},
    {"tool_choice": "required"},
    {"stop": [""]},
    {"stop": ["a"] * 1000},
    {"stop": 5},
    {"logit_bias": {"a": 1}},
    {"logit_bias": {"99999": 1}},
    {"n": 0},
    {"n": 16, "temperature": 0},
    {"logprobs": True, "top_logprobs": 20},
    {"logprobs": "x", "top_logprobs": "x"},
    {"max_tokens": 0},
    {"max_tokens": -1},
    {"min_tokens": 10**9},
    {"response_format": {"type": "json_schema"}},
    {"response_format": {"type": "json_object"}},
    {"messages": []},
    {"messages": [{"role": "assistant", "content": None}]},
    {"messages": [{"role": "tool", "content": "x"}]},
    {"messages": [{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "x", "tool_call_id": "1"}]},
    {"messages": [{"role": "developer", "content": [{"type": "refusal", "refusal": "No."}]}]},
    {"use_beam_search": True, "n": 2},
    {"use_beam_search": True, "n": 2, "stream": True},
    {"use_beam_search": True, "n": 0, "length_penalty": 10},
    {"use_beam_search": True, "n": 2, "temperature": 0, "length_penalty": -10},
    {"structured_outputs": {"choice": [""]}},
    {"structured_outputs": {"regex": ""}},
    {"structured_outputs": {"json_object": True}},
    {"structured_outputs": {"json": {}, "regex": "a"}},
    {"structured_outputs": {}},
    {"reasoning_effort": "x"},
    {"modalities": ["audio"]},
    {"metadata": 5},
    {"service_tier": 5},
    {"seed": "x"},
    {"seed": -(2**63)},
    {"stream": "yes"},
    {"stream_options": {"include_usage": True}},
    {"model": None},
    {"top_p": 0},
    {"temperature": 2, "presence_penalty": 2, "frequency_penalty": -2},
    {"functions": [5], "function_call": {}},
    {"user": {"a": 1}},
]


def test_whatever_clients_get_wrong_is_no_failure_of_the_server(serving: Serving) -> None:
    failed = []
    for fields in ODD:
        body = json.dumps({**HELLO, "max_tokens": 8, **fields}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {serving.key}"}
        request = urllib.request.Request(f"{serving.base}/chat/completions", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                assert response.read()
        except urllib.error.HTTPError as error:
            failed += [(fields, error.code, error.read())] if error.code >= 500 else []
    assert failed == []


def test_ids_of_answers_are_the_gateways(serving: Serving) -> None:
    said = [said_to(serving, json.dumps({**HELLO, "max_tokens": 1}).encode(), **{"X-Request-Id": "mine"}) for _ in "ab"]
    ids = {answer["id"] for status, answer in said if status == 200}
    assert len(ids) == 2 and not [one for one in ids if "mine" in one]


def test_an_answer_ends_where_its_request_names_no_end(serving: Serving) -> None:
    endless = {**HELLO, "min_tokens": LONGEST, "temperature": 0}
    status, said = said_to(serving, json.dumps(endless).encode())
    assert status == 200 and said["usage"]["completion_tokens"] == LONGEST
    # As near to the model's length as a prompt can come: what is left is less than that, and no fault.
    long = {"model": "salus", "prompt": [5] * 120, "max_tokens": 8}
    assert said_to(serving, json.dumps(long).encode(), "completions")[0] == 200
    near = {**HELLO, "messages": [{"role": "user", "content": "My aunt needs a refill. " * 15}]}
    status, said = said_to(serving, json.dumps(near).encode())
    assert status == 200 and 128 - LONGEST < said["usage"]["prompt_tokens"] < 128


def test_no_answer_names_a_path_of_the_server(serving: Serving) -> None:
    headers = {"Authorization": f"Bearer {serving.key}"}
    for path in ("models", "models/salus"):
        with urllib.request.urlopen(urllib.request.Request(f"{serving.base}/{path}", headers=headers)) as response:
            told = response.read().decode()
        assert "salus" in told and str(Path(serving.a.path).parent) not in told


def test_seeded_requests_are_answered_however_much_is_under_way(serving: Serving) -> None:
    """vLLM on CPU draws no seeded token of a prompt that it reads in parts, which much work at once makes it do."""
    replicas = {process.pid for process in processes("PolicyServer")}
    rows = [[7 + (number + place) % 300 for place in range(240)] for number in range(16)]
    with serving.client() as client:
        for _ in range(3):
            said = client.completions.create(model="salus", prompt=rows, temperature=1, seed=5, max_tokens=8)
            assert len(said.choices) == len(rows)
    assert set(asyncio.run(ask_seeded(serving, clients=32, each=6))) == {"length"}
    assert {process.pid for process in processes("PolicyServer")} == replicas


async def ask_seeded(serving: Serving, clients: int, each: int) -> list[str]:
    """How the answers to so many clients end, each of which asks with a seed, again and again."""
    long = "refill " * 180

    async def one(number: int) -> list[str]:
        messages: Any = [{"role": "user", "content": f"{number} {long}"}]
        replies = [
            await client.chat.completions.create(
                model="salus",
                messages=messages,
                temperature=1,
                seed=number * each + turn,
                max_tokens=8,
                extra_body={"min_tokens": 8},
            )
            for turn in range(each)
        ]
        return [reply.choices[0].finish_reason for reply in replies]

    async with openai.AsyncOpenAI(base_url=serving.base, api_key=serving.key, timeout=60, max_retries=0) as client:
        return [end for ends in await asyncio.gather(*map(one, range(clients))) for end in ends]


def test_without_a_key_there_is_health_and_nothing_else(serving: Serving) -> None:
    root = serving.publisher.url
    for path in ("/health", "/ready"):
        with urllib.request.urlopen(root + path, timeout=10) as response:
            assert response.status == 200
            assert "x-salus-policy" not in response.headers and b"policy" not in response.read()
    known = urllib.request.Request(f"{root}/ready", headers={"Authorization": f"Bearer {serving.key}"})
    with urllib.request.urlopen(known, timeout=10) as response:
        assert json.load(response) == {"ready": True, "policy": serving.publisher.served_version()}
    for path in ("/v1/models", "/metrics", "/openapi.json", "/load", "/server_info", "/review", "/dashboard"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(root + path, timeout=10)


def test_an_engine_that_dies_takes_its_replica_with_it_and_another_comes(serving: Serving) -> None:
    version = serving.publisher.served_version()
    traffic = Traffic(serving.publisher.url, serving.key).start()
    time.sleep(3)
    processes("EngineCore")[0].kill()
    death = time.monotonic()
    while serving.publisher.replica_versions() == [version, version]:
        assert time.monotonic() < death + RESTART_S, "the replica outlived its engine"
        time.sleep(0.2)
    wait_for_two(serving.publisher, version)
    time.sleep(3)
    answers = traffic.stop()
    failed = [answer for answer in answers if answer.version is None]
    print(f"{len(answers)} requests, {len(failed)} failed")
    # The streams it had begun.
    assert len(failed) <= CLIENTS and all(answer.sent <= death + 1 and answer.done >= death for answer in failed)
    assert {answer.version for answer in answers} - {None} == {version}
