"""POST /v1/feedback: who may say what of which answer, in OpenAI's error shape, acknowledged when durable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import read
from actors.serve.feedback.records import CAPTURES, FEEDBACK
from actors.serve.feedback.redaction import NotRedacted
from actors.serve.feedback.redaction_process import RedactionBusy
from actors.serve.feedback.routes import feedback_router
from actors.serve.feedback.sink import FeedbackSink
from actors.serve.feedback.writer import FeedbackWriter
from tests.actors.serve.feedback.endpoint import as_caller
from tests.actors.serve.feedback.given import FULL, NOON, DirectRedaction, MemorySink, captured

CONFIG = FeedbackConfig(max_comment_chars=50, max_text_chars=100, max_request_bytes=1000)


async def post(
    sink: FeedbackSink,
    body: Any,
    caller: str | None = "ward",
    config: FeedbackConfig = CONFIG,
    fault: Exception | None = None,
) -> Any:
    app = FastAPI()
    app.include_router(feedback_router(sink, DirectRedaction(fault=fault), config, lambda: NOON))
    transport = httpx.ASGITransport(as_caller(app, caller))
    async with httpx.AsyncClient(transport=transport, base_url="http://salus") as client:
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await client.post("/v1/feedback", **sent)


def posted(sink: FeedbackSink, body: Any, caller: str | None = "ward", config: FeedbackConfig = CONFIG) -> Any:
    return asyncio.run(post(sink, body, caller, config))


def known(*ids: str) -> MemorySink:
    sink = MemorySink()
    sink.answers = [captured(answer_id) for answer_id in ids]
    return sink


def test_a_thumb_is_kept_with_the_policy_that_answered() -> None:
    sink = known("chatcmpl-1")
    response = posted(sink, {"answer_id": "chatcmpl-1", "verdict": "up", "comment": "Dr Berg liked it"})
    [item] = sink.items
    assert response.status_code == 200 and response.json()["feedback_id"] == item.feedback_id
    assert (item.policy, item.caller, item.verdict, item.at) == ("c1-dpo", "ward", "up", NOON)
    assert item.comment == "Dr [NAME] liked it"


@pytest.mark.parametrize("verdict", [{}, {"verdict": "corrected"}])
def test_a_correction_is_a_verdict_of_its_own(verdict: dict[str, str]) -> None:
    sink = known("chatcmpl-1")
    assert posted(sink, {"answer_id": "chatcmpl-1", "correction": "Ask Dr Berg.", **verdict}).status_code == 200
    assert (sink.items[0].verdict, sink.items[0].correction) == ("corrected", "Ask Dr [NAME].")


def test_the_same_caller_on_the_same_answer_has_the_same_id() -> None:
    sink = known("chatcmpl-1")
    ids = {posted(sink, {"answer_id": "chatcmpl-1", "verdict": v}).json()["feedback_id"] for v in ("up", "down")}
    assert len(ids) == 1


def error(response: Any) -> dict[str, Any]:
    """The error of a response, which has OpenAI's shape."""
    body = response.json()
    assert body.keys() == {"error"} and body["error"].keys() == {"message", "type", "param", "code"}
    found: dict[str, Any] = body["error"]
    return found


def test_unknown_answers_and_those_of_others_are_not_found() -> None:
    sink = known("chatcmpl-1")
    unknown = posted(sink, {"answer_id": "chatcmpl-2", "verdict": "up"})
    others = posted(sink, {"answer_id": "chatcmpl-1", "verdict": "up"}, caller="pharmacy")
    forged = {"answer_id": "chatcmpl-1", "verdict": "up", "prompt": "p", "answer": "a"}
    taken = posted(sink, forged, caller="pharmacy")
    assert [r.status_code for r in (unknown, others, taken)] == [404, 404, 404] and sink.items == []
    # Nothing tells an answer that is another's from one that is not there.
    assert error(others)["message"].replace("-1", "-2") == error(unknown)["message"]
    assert len(sink.answers) == 1


def test_an_exchange_that_comes_along_needs_no_capture() -> None:
    sink = MemorySink()
    body = {"answer_id": "mine-1", "verdict": "down", "prompt": "My name is Anna.", "answer": "Hello."}
    assert posted(sink, body).status_code == 200
    assert posted(sink, {"answer_id": "mine-1", "verdict": "up"}).status_code == 200
    [answer] = sink.answers
    assert (answer.origin, answer.policy, answer.prompt) == ("supplied", "unknown", "My name is [NAME].")
    assert [item.verdict for item in sink.items] == ["down", "up"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        ([], 400, None),
        ({"verdict": "up"}, 400, "answer_id"),
        ({"answer_id": "", "verdict": "up"}, 400, "answer_id"),
        ({"answer_id": "x" * 201, "verdict": "up"}, 400, "answer_id"),
        ({"answer_id": "a"}, 400, None),
        ({"answer_id": "a", "verdict": "good"}, 400, "verdict"),
        ({"answer_id": "a", "verdict": "up", "correction": "c"}, 400, None),
        ({"answer_id": "a", "verdict": "corrected"}, 400, None),
        ({"answer_id": "a", "verdict": "up", "prompt": "p"}, 400, None),
        ({"answer_id": "a", "verdict": "up", "stars": 5}, 400, "stars"),
        ({"answer_id": "a", "verdict": "up", "comment": "x" * 51}, 400, "comment"),
        ({"answer_id": "a", "correction": "x" * 101}, 400, "correction"),
        ({"answer_id": "a", "verdict": "up", "comment": "x" * 1000}, 413, None),
        (b'{"answer_id": "a", "verdict": "up", "comment": "\\ud800"}', 400, None),
    ],
)
def test_what_is_wrong_is_said_and_nothing_kept(body: Any, status: int, param: str | None) -> None:
    sink = known("a")
    response = posted(sink, body)
    assert (response.status_code, error(response)["param"]) == (status, param)
    assert error(response)["type"] == "invalid_request_error" and sink.items == []


def test_what_could_not_be_kept_is_not_acknowledged() -> None:
    sink = known("a")
    sink.fault = FULL
    response = posted(sink, {"answer_id": "a", "verdict": "up"})
    assert response.status_code == 503 and error(response)["type"] == "server_error"
    # The writer's folders are nobody's business.
    assert "disk" not in error(response)["message"]


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (
            NotRedacted("too slow"),
            400,
            "correction could not be redacted in time, so nothing was kept; send less text.",
        ),
        (RedactionBusy("others"), 429, "Too much feedback waits to be redacted; send it again later."),
        (FULL, 503, "The feedback was not kept; send it again later."),
    ],
)
def test_what_could_not_be_redacted_is_said_and_nothing_kept(fault: Exception, status: int, message: str) -> None:
    sink = known("a")
    response = asyncio.run(post(sink, {"answer_id": "a", "correction": "Ask Dr Berg."}, fault=fault))
    assert (response.status_code, error(response)["message"]) == (status, message) and sink.items == []
    supplied = {"answer_id": "b", "verdict": "up", "prompt": "p", "answer": "q"}
    response = asyncio.run(post(sink, supplied, fault=fault))
    assert response.status_code == status and len(sink.answers) == 1 and sink.items == []


def test_feedback_waits_for_an_answer_that_is_still_on_its_way() -> None:
    config = FeedbackConfig.model_validate({"folder": "f", "capture": "opt_in", "capture_wait_s": 5.0})

    async def race() -> Any:
        sink = MemorySink()
        early = asyncio.create_task(post(sink, {"answer_id": "late", "verdict": "up"}, config=config))
        await asyncio.sleep(0.1)
        await sink.captured(captured("late"))
        return await early

    assert asyncio.run(race()).status_code == 200


def test_what_is_acknowledged_is_in_the_journal(tmp_path: Path) -> None:
    async def give() -> list[str]:
        writer = FeedbackWriter(tmp_path, CONFIG)
        await asyncio.gather(*(writer.captured(captured(f"chatcmpl-{i}")) for i in range(40)))
        calls = (post(writer, {"answer_id": f"chatcmpl-{i}", "verdict": "up"}) for i in range(40))
        given = [response.json()["feedback_id"] for response in await asyncio.gather(*calls)]
        await writer.close()
        return given

    acknowledged = asyncio.run(give())
    assert set(acknowledged) == set(read(tmp_path / FEEDBACK.name, FEEDBACK)["feedback_id"].to_pylist())
    assert read(tmp_path / CAPTURES.name, CAPTURES).num_rows == 40


def test_the_route_is_described() -> None:
    app = FastAPI()
    app.include_router(feedback_router(MemorySink(), DirectRedaction(), CONFIG))
    body = app.openapi()["paths"]["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "answer_id" in body["properties"]
