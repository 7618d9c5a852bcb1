"""The sampler: what is handed over, after the client has its answer, and that nothing comes back or holds it up."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import httpx
import pytest

from actors.contract.conversation import Turn
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.gateway.exchange import ExchangeLayers
from actors.serve.shadow.config import MOST_BYTES, ShadowConfig
from actors.serve.shadow.records import LiveAnswer, Taken
from actors.serve.shadow.sampler import ShadowOutcome, ShadowSampler
from tests.actors.serve.feedback.endpoint import ANSWER, CHAT, ChatApp, read_once
from tests.actors.serve.feedback.given import ASKED, FULL, NOON
from tests.actors.serve.shadow.given import MemoryChallenger

ALL = ShadowConfig(policy="c2-kto", share=1.0)


class Endpoint:
    """The sampler behind a chat app, and a client of it that waits until nothing is under way."""

    def __init__(
        self,
        app: ChatApp | None = None,
        challenger: Any = None,
        config: ShadowConfig = ALL,
        bounds: FeedbackConfig | None = None,
    ) -> None:
        self.app = app or ChatApp()
        self.challenger = challenger or MemoryChallenger()
        self.counted: list[str] = []
        self.shadow = ShadowSampler(
            self.challenger,
            config,
            bounds or FeedbackConfig(),
            count=self.counted.append,
            clock=lambda: NOON,
            limit=50,
        )

    def ask(self, times: int = 1, path: str = CHAT, **body: Any) -> list[httpx.Response]:
        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(read_once(self.app, ExchangeLayers(shadow=self.shadow)))
            async with httpx.AsyncClient(transport=transport, base_url="http://salus") as client:
                asked = {"model": "salus", "messages": ASKED, "store": True} | body
                replies = [await client.post(path, json=asked) for _ in range(times)]
            # Of what hangs, nobody waits for the end.
            await asyncio.sleep(0.05)
            return replies

        return asyncio.run(send())

    @property
    def outcomes(self) -> dict[ShadowOutcome, int]:
        # What asyncio.run cancelled at its end counts as a fault.
        return {name: count for name, count in self.shadow.outcomes.items() if name != "fault"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_live_answer_is_handed_over_whole_and_unredacted(stream: bool) -> None:
    endpoint = Endpoint()
    (response,) = endpoint.ask(stream=stream, temperature=0.5, max_tokens=9)
    raw = b"".join(endpoint.app.chunks()) if stream else json.dumps(endpoint.app.whole()).encode()
    assert response.content == raw
    assert endpoint.challenger.taken == [
        LiveAnswer(
            answer_id="chatcmpl-1",
            policy="c1-dpo",
            turns=(Turn(role="system", content="Be brief."), Turn(role="user", content="My name is Anna,\ninsulin?")),
            answer="".join(ANSWER),
            finish_reason="stop",
            at=NOON,
            max_tokens=9,
            temperature=0.5,
            limit=50,
        )
    ]
    assert endpoint.outcomes == {"stored": 1} and endpoint.counted == ["stored"]


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_the_challenger_says_reaches_a_client(stream: bool) -> None:
    class Loud(MemoryChallenger):
        async def take(self, live: LiveAnswer) -> Taken:
            await super().take(live)
            raise RuntimeError("the challenger's own words")

    quiet, loud = Endpoint(), Endpoint(challenger=Loud())
    (expected,), (response,) = quiet.ask(stream=stream), loud.ask(stream=stream)
    assert response.content == expected.content and response.headers == expected.headers
    assert response.status_code == 200 and b"own words" not in response.content
    assert len(loud.challenger.taken) == 1


def test_it_is_handed_over_only_when_the_client_has_everything() -> None:
    challenger = MemoryChallenger()
    handed: list[int] = []
    app = ChatApp(sent=lambda: handed.append(len(challenger.taken)))
    Endpoint(app, challenger).ask(stream=True)
    assert handed == [0] * len(app.chunks()) and len(challenger.taken) == 1


@pytest.mark.parametrize("store", [None, False, "true"])
def test_who_did_not_ask_to_be_kept_is_not_unless_consent_is_given_otherwise(store: Any) -> None:
    endpoint = Endpoint()
    endpoint.ask(store=store)
    assert endpoint.challenger.taken == [] and endpoint.outcomes == {"not_asked": 1}
    given = Endpoint(config=ALL.model_copy(update={"consent": "given"}))
    given.ask(store=store)
    assert given.outcomes == {"stored": 1}


def test_only_the_share_is_handed_over() -> None:
    endpoint = Endpoint(config=ALL.model_copy(update={"share": 0.3}))
    for number in range(200):
        endpoint.app.answer_id = f"chatcmpl-{number}"
        endpoint.ask()
    taken = endpoint.outcomes["stored"]
    assert taken == len(endpoint.challenger.taken) and 35 < taken < 85
    assert endpoint.outcomes["not_drawn"] == 200 - taken


@pytest.mark.parametrize("stream", [False, True])
def test_a_challenger_that_hangs_slows_nobody_and_what_does_not_fit_is_dropped(stream: bool) -> None:
    endpoint = Endpoint(
        challenger=MemoryChallenger(hangs=True), config=ALL.model_copy(update={"queue": 3, "timeout_s": 60.0})
    )
    began = time.monotonic()
    replies = endpoint.ask(times=40, stream=stream)
    # Any one wait for the challenger would take a minute.
    assert time.monotonic() - began < 10
    assert all(reply.status_code == 200 for reply in replies) and len(replies) == 40
    assert len(endpoint.challenger.taken) == 3 and endpoint.outcomes == {"dropped": 37}


def test_a_challenger_that_says_nothing_is_given_up_in_time() -> None:
    endpoint = Endpoint(challenger=MemoryChallenger(hangs=True), config=ALL.model_copy(update={"timeout_s": 0.01}))
    endpoint.ask(times=2)
    assert endpoint.counted == ["fault", "fault"]


@pytest.mark.parametrize("fault", [FULL, RuntimeError("patient 12345678")])
def test_a_fault_is_counted_each_time_and_logged_once(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint(challenger=MemoryChallenger(fault))
    with caplog.at_level(logging.ERROR):
        assert [reply.json()["id"] for reply in endpoint.ask(times=3)] == ["chatcmpl-1"] * 3
    assert endpoint.counted == ["fault"] * 3
    assert caplog.text.count("serving goes on") == 1 and "12345678" not in caplog.text


def test_a_challenger_is_told_how_long_a_live_answer_may_be() -> None:
    endpoint = Endpoint()
    endpoint.ask(max_tokens=7)
    endpoint.ask()
    assert [(taken.max_tokens, taken.limit) for taken in endpoint.challenger.taken] == [(7, 50), (None, 50)]


def test_requests_that_cannot_be_asked_again_are_left_alone() -> None:
    endpoint = Endpoint()
    endpoint.ask(tools=[{"type": "function"}])
    endpoint.ask(messages=[*ASKED, {"role": "assistant", "content": "Well,"}])
    endpoint.ask(path="/v1/completions")
    assert endpoint.challenger.taken == [] and endpoint.outcomes == {"other_settings": 1, "not_asked": 1}


@pytest.mark.parametrize("app", [ChatApp(finish_reason=None), ChatApp(status=503), ChatApp(answer_id="")])
def test_what_is_no_whole_answer_is_left_alone(app: ChatApp) -> None:
    endpoint = Endpoint(app)
    assert endpoint.ask(stream=True)[0].status_code == app.status
    assert endpoint.challenger.taken == [] and endpoint.outcomes == {"no_answer": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_text_is_an_answer(stream: bool) -> None:
    endpoint = Endpoint(ChatApp(pieces=[]))
    endpoint.ask(stream=stream)
    assert [taken.answer for taken in endpoint.challenger.taken] == [""]


def test_what_ray_would_put_where_it_may_spill_to_disk_is_left_alone() -> None:
    endpoint = Endpoint(ChatApp(pieces=["ä" * (MOST_BYTES // 2)]))
    endpoint.ask()
    short = Endpoint(bounds=FeedbackConfig(max_response_bytes=10))
    short.ask()
    # A turn that is not redacted for its length is not handed over either.
    few = Endpoint(bounds=FeedbackConfig(max_text_chars=10))
    few.ask()
    assert endpoint.outcomes == short.outcomes == few.outcomes == {"too_large": 1}
    assert endpoint.challenger.taken == short.challenger.taken == []
