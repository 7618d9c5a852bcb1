"""`/v1/responses` behind the gateway: the same keys, limits, fields, guard and capture as a chat, and nothing kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai.types.responses import response_create_params
from starlette.types import Message, Receive, Scope, Send

from actors.serve.api.requests import ResponseFields
from actors.serve.feedback.capture import AnswerCapture
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.exchange import ExchangeLayers
from actors.serve.router.routes import model_of_answer
from tests.actors.serve.api.answered import streamed_response, whole_response
from tests.actors.serve.feedback.given import DirectRedaction, MemorySink
from tests.actors.serve.gateway.served import Served, converse, error_of, json_headers, part, scope_of
from tests.actors.serve.guard.guarded import PHRASE, RULES, UNSAFE, Guarded, SaidGuard

PATH = "/v1/responses"
ASKED = {"model": "salus", "input": "How do I store insulin?"}
HARM = {"model": "salus", "input": [{"role": "user", "content": f"How do I {PHRASE}?"}]}
FEEDBACK = FeedbackConfig.model_validate({"folder": "feedback", "capture": "opt_in"})
TOOL = {"type": "function", "name": "dose", "parameters": {"type": "object"}}
# OpenAI's, of what this server does not do.
NOT_DONE_HERE = {"access_programs", "context_management", "image"}


class Bodies:
    """An app that keeps what it was asked, and answers."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.lengths: list[tuple[int, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        self.seen.append(json.loads(body))
        self.lengths.append((len(body), int(dict(scope["headers"])[b"content-length"])))

        async def no_more() -> Message:
            return part(b"")

        await whole_response("In the fridge.")(scope, no_more, send)


def test_the_app_gets_the_gateways_id_and_is_told_to_keep_nothing() -> None:
    served = Served(app=(app := Bodies()))
    for store in (None, True, False):
        body = ASKED if store is None else {**ASKED, "store": store}
        response = served.ask("POST", PATH, "client", json_body=body)
        assert response.status_code == 200 and response.headers["x-salus-policy"] == "c1-dpo"
    assert [each["store"] for each in app.seen] == [False] * 3
    ids = [each["request_id"] for each in app.seen]
    assert len(set(ids)) == 3 and all(each.startswith("resp_") for each in ids)
    assert all(length == said for length, said in app.lengths)
    assert [each["input"] for each in app.seen] == [ASKED["input"]] * 3
    assert served.last.tokens == (7, 3)


def test_an_id_leads_a_router_to_its_model() -> None:
    assert model_of_answer(f"resp_clinic-{'a' * 32}") == "clinic"


@pytest.mark.parametrize("key", [None, "reviewer"])
def test_it_wants_a_key(key: str | None) -> None:
    response = Served(app=Bodies()).ask("POST", PATH, key, json_body=ASKED)
    assert response.status_code == (401 if key is None else 200)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("prompt", {"id": "pmpt_1"}),
        ("background", True),
    ],
)
def test_what_would_need_kept_answers_is_refused_with_a_sentence(name: str, value: object) -> None:
    served = Served(app=(app := Bodies()))
    error = error_of(served.ask("POST", PATH, "admin", json_body={**ASKED, name: value}))
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert "send the whole conversation as input" in error["message"]
    assert served.ask("POST", PATH, "client", json_body={**ASKED, name: None}).status_code == 200
    assert len(app.seen) == 1


NOT_FOR_CLIENTS: dict[str, Any] = {
    "request_id": "resp_of_another",
    "previous_input_messages": [],
    "enable_response_messages": True,
    "session_id": "x",
    "cache_salt": "x",
    "priority": -5,
    "kv_transfer_params": {},
    "vllm_xargs": {},
    "chat_template_kwargs": {},
    "mm_processor_kwargs": {},
    "structured_outputs": {"regex": "a"},
    "top_k": 1,
    "nonsense": 1,
}


@pytest.mark.parametrize("name", NOT_FOR_CLIENTS)
def test_a_field_that_is_not_the_clients_is_refused_by_its_name(name: str) -> None:
    error = error_of(Served(app=Bodies()).ask("POST", PATH, "client", json_body={**ASKED, name: NOT_FOR_CLIENTS[name]}))
    assert (error["code"], error["param"]) == ("unknown_parameter", name)


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"type": "item_reference", "id": "msg_1"},
        {"type": "reasoning", "summary": [], "encrypted_content": "AAAA"},
        {"type": "mcp_call", "id": "a", "name": "b", "arguments": "", "server_label": "c"},
        {"type": "message", "role": "assistant", "content": "Sure, here", "status": "incomplete"},
        5,
    ],
)
def test_an_item_of_another_kind_is_refused(item: object) -> None:
    served = Served(app=(app := Bodies()))
    assert served.ask("POST", PATH, "client", json_body={**ASKED, "input": [item]}).status_code == 400
    assert app.seen == []


def test_an_answer_may_be_sent_back_as_openais_client_holds_it() -> None:
    text: dict[str, Any] = {"type": "output_text", "text": "Five.", "annotations": [], "logprobs": None}
    answered = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    items = [{"role": "user", "content": "Which?"}, answered, {"role": "user", "content": "Why?"}]
    assert Served(app=Bodies()).ask("POST", PATH, "client", json_body={**ASKED, "input": items}).status_code == 200


def test_every_field_that_openais_client_sends_is_taken_or_named_here() -> None:
    sent = set(response_create_params.ResponseCreateParamsBase.__annotations__) | {"stream"}
    assert sent - set(ResponseFields.model_fields) == NOT_DONE_HERE


def test_the_limits_hold() -> None:
    served = Served(app=Bodies(), config=GatewayConfig(max_tokens_per_request=10, max_prompt_chars=200))
    assert error_of(served.ask("POST", PATH, "client", json_body={**ASKED, "max_output_tokens": 11}))["param"] == (
        "max_output_tokens"
    )
    assert served.ask("POST", PATH, "client", json_body={**ASKED, "input": "a" * 201}).status_code == 400
    assert served.ask("POST", PATH, "client", json_body={**ASKED, "max_output_tokens": 10}).status_code == 200


def test_a_form_that_cannot_be_compiled_is_named_as_the_sender_does() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"properties": {"a": deep}}
    form = {"format": {"type": "json_schema", "name": "deep", "schema": deep}}
    error = error_of(Served(app=Bodies()).ask("POST", PATH, "client", json_body={**ASKED, "text": form}))
    assert error["param"] == "text.format"


@pytest.mark.parametrize("path", [PATH, "/v1/chat/completions"])
def test_tools_without_a_parser_are_refused_with_the_cure(path: str) -> None:
    served = Served(app=Bodies(), tools=False)
    tool = TOOL if path == PATH else {"type": "function", "function": {"name": "dose"}}
    body = {**ASKED, "tools": [tool]} if path == PATH else {"messages": [], "tools": [tool]}
    error = error_of(served.ask("POST", path, "client", json_body=body))
    assert (error["code"], error["param"]) == ("tools_unavailable", "tools")
    assert "publish.engine_extra" in error["message"] and "tool_call_parser" in error["message"]
    assert served.ask("POST", path, "client", json_body={**body, "tool_choice": "none"}).status_code == 200
    assert served.ask("POST", path, "client", json_body={**body, "tools": []}).status_code == 200


def body_of(messages: list[Message]) -> str:
    return b"".join(message.get("body", b"") for message in messages).decode()


@pytest.mark.parametrize("stream", [False, True])
def test_the_guard_holds_an_unsafe_answer_back(stream: bool) -> None:
    pieces = [UNSAFE[:9], UNSAFE[9:]]
    app = streamed_response(*pieces) if stream else whole_response(UNSAFE)
    guarded = Guarded(app)
    sent = guarded.send({**HARM, "stream": stream}, PATH)
    assert dict(sent[0]["headers"])[b"x-salus-guard"] == b"replaced"
    said = body_of(sent)
    assert not any(piece in said for piece in pieces)
    assert json.dumps(RULES.template)[1:-1] in said
    # Every event has its name, and there is no other end.
    assert said.count("event: response.") == (said.count("data: ") if stream else 0) and "[DONE]" not in said


@pytest.mark.parametrize("stream", [False, True])
def test_a_safe_answer_goes_on_as_it_came(stream: bool) -> None:
    app = streamed_response("In the", " fridge.") if stream else whole_response("In the fridge.")
    guarded = Guarded(app)
    sent = guarded.send({**ASKED, "stream": stream}, PATH)
    assert dict(sent[0]["headers"])[b"x-salus-guard"] == b"passed"
    assert body_of(sent) == b"".join(app._parts).decode()
    assert guarded.last.tokens == (7, 3)


def test_words_that_only_the_stream_has_are_judged_too() -> None:
    guard = SaidGuard("unsafe")
    guarded = Guarded(streamed_response(UNSAFE[:9], UNSAFE[9:], text="In the fridge."), guard=guard)
    sent = guarded.send({**HARM, "stream": True}, PATH)
    assert dict(sent[0]["headers"])[b"x-salus-guard"] == b"replaced" and UNSAFE[9:] not in body_of(sent)
    (asked,) = guard.asked
    assert "In the fridge." in asked.answer and UNSAFE in asked.answer


def test_a_stream_that_breaks_off_is_not_judged_and_does_not_go_out() -> None:
    guarded = Guarded(streamed_response(UNSAFE, ended=False))
    sent = guarded.send({**HARM, "stream": True}, PATH)
    assert sent[0]["status"] == 503 and UNSAFE not in body_of(sent)


def test_instructions_are_part_of_what_is_judged() -> None:
    guarded = Guarded(whole_response(UNSAFE))
    sent = guarded.send({**ASKED, "instructions": f"Tell how to {PHRASE}."}, PATH)
    assert dict(sent[0]["headers"])[b"x-salus-guard"] == b"replaced"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("store", "kept"), [(None, 0), (False, 0), (True, 1)])
def test_a_conversation_is_kept_only_where_the_request_says_so(stream: bool, store: bool | None, kept: int) -> None:
    app = streamed_response("In the", " fridge.") if stream else whole_response("In the fridge.")
    sink = MemorySink()
    served = Served(app=app, layers=ExchangeLayers(capture=AnswerCapture(sink, DirectRedaction(), FEEDBACK)))
    body = {**ASKED, "stream": stream} | ({"store": store} if store is not None else {})
    scope = scope_of(path=PATH, headers=json_headers(served.tokens["client"]))
    asyncio.run(converse(served.gateway, scope, part(json.dumps(body).encode())))
    assert len(sink.answers) == kept
    for each in sink.answers:
        assert (each.answer_id, each.prompt, each.answer) == ("resp_1", ASKED["input"], "In the fridge.")
        assert (each.policy, each.caller) == ("c1-dpo", "client")
