"""Requests and answers of the Responses API in the words of the chat API, and an answer put in another's place."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from actors.serve.api.chat import chat_answer, chat_request
from actors.serve.api.responses import as_chat_answer, as_chat_request, instead_of, is_response, usage_of
from tests.actors.serve.api.answered import events_of, message_of, response_of

USER = {"role": "user", "content": "Hello"}
FORM = {"type": "json_schema", "name": "dose", "schema": {"type": "object"}, "strict": True}


def asked(**fields: Any) -> dict[str, Any]:
    return as_chat_request({"model": "salus", **fields})


def test_a_text_is_the_users_and_instructions_are_the_systems() -> None:
    chat = asked(input="Hello", instructions="Be brief.", max_output_tokens=9, temperature=0)
    assert chat == {
        "model": "salus",
        "messages": [{"role": "system", "content": "Be brief."}, USER],
        "max_completion_tokens": 9,
        "temperature": 0,
    }


def test_items_become_messages_in_their_order() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Which dose?"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Look it up."}]},
        {"type": "function_call", "call_id": "c", "name": "dose", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "5 mg"},
        message_of("Five."),
        {"type": "message", **USER},
    ]
    messages = asked(input=items)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "assistant", "tool", "assistant", "user"]
    assert messages[0]["content"] == [{"type": "text", "text": "Which dose?"}]
    assert messages[1]["reasoning"] == "Look it up."
    assert messages[2]["tool_calls"][0]["function"] == {"name": "dose", "arguments": "{}"}
    assert messages[3] == {"role": "tool", "tool_call_id": "c", "content": "5 mg"}


def test_forms_tools_and_effort_get_the_names_of_a_chat() -> None:
    tool = {"type": "function", "name": "dose", "parameters": {"type": "object"}}
    chat = asked(input="Hello", text={"format": FORM}, tools=[tool], tool_choice=tool, reasoning={"effort": "low"})
    inner = {name: value for name, value in FORM.items() if name != "type"}
    assert chat["response_format"] == {"type": "json_schema", "json_schema": inner}
    function = {"type": "function", "function": {"name": "dose", "parameters": {"type": "object"}}}
    assert chat["tools"] == [function] and chat["tool_choice"] == function
    assert chat["reasoning_effort"] == "low"
    assert asked(input="Hello", text={"format": {"type": "text"}})["response_format"] == {"type": "text"}


@pytest.mark.parametrize(
    ("fields", "unsteered"),
    [
        ({}, True),
        ({"include": ["message.output_text.logprobs"], "truncation": "disabled", "background": False}, True),
        ({"text": {"format": {"type": "text"}}, "store": True}, True),
        ({"text": {"format": FORM}}, False),
        ({"truncation": "auto"}, False),
        ({"reasoning": {"effort": "low"}}, False),
        ({"tools": [{"type": "function", "name": "dose"}]}, False),
    ],
)
def test_what_steers_an_answer_is_seen(fields: dict[str, Any], unsteered: bool) -> None:
    request = chat_request(asked(input=[USER], **fields))
    assert request is not None and request.unsteered == unsteered
    turns = request.turns()
    assert turns is not None and [turn.content for turn in turns] == ["Hello"]


@pytest.mark.parametrize("odd", [None, 5, [5], [{"type": "image"}], {}])
def test_a_request_of_another_shape_is_no_chat(odd: object) -> None:
    request = chat_request(asked(input=odd))
    assert request is None or request.turns() is None


def test_an_answer_is_the_same_whole_and_streamed() -> None:
    whole = [response_of(message_of("Five mg."))]
    for parts in (whole, events_of(["Five", " mg."])):
        assert is_response(parts)
        chat = as_chat_answer(parts)
        said = chat_answer([chat], streamed=False)
        assert said is not None and (said.answer_id, said.answer, said.finish_reason) == ("resp_1", "Five mg.", "stop")
        assert chat["choices"][0]["message"]["streamed"] == []
    cut_off = chat_answer([as_chat_answer([response_of(message_of("Fi"), status="incomplete")])], streamed=False)
    assert cut_off is not None and cut_off.finish_reason == "length"
    assert not is_response([{"object": "chat.completion", "choices": []}]) and not is_response([])


def test_what_a_stream_says_beside_its_end_is_read_too() -> None:
    (choice,) = as_chat_answer(events_of(["A harm", "ful word"], text="Fine."))["choices"]
    assert choice["message"]["content"] == "Fine." and choice["message"]["streamed"] == ["A harmful word"]


@pytest.mark.parametrize(
    "parts",
    [
        events_of(["Five"])[:-1],
        [response_of(message_of("Five"), status="failed")],
        [*events_of(["Five"]), *events_of(["Six"])],
    ],
)
def test_an_answer_without_one_good_end_has_no_choice(parts: list[dict[str, Any]]) -> None:
    assert as_chat_answer(parts)["choices"] == []


def test_tokens_are_counted_from_the_object_and_from_the_last_event() -> None:
    counts = {"prompt_tokens": 7, "completion_tokens": 3}
    assert usage_of(response_of(message_of("a"))) == counts == usage_of(events_of(["a"])[-1])
    assert usage_of(events_of(["a"])[0]) == {}


def test_another_text_goes_out_in_openais_shapes_and_nothing_of_the_answer_stays() -> None:
    (whole,) = instead_of([response_of(message_of("secret"))], "No.")
    response = Response.model_validate(whole)
    assert response.output_text == "No." and "secret" not in str(whole)
    assert response.incomplete_details is not None and response.incomplete_details.reason == "content_filter"
    events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    found = [events.validate_python(each) for each in instead_of(events_of(["sec", "ret"]), "No.")]
    assert [each.sequence_number for each in found] == list(range(len(found)))
    assert found[0].type == "response.created" and found[-1].type == "response.completed"
    assert found[-1].response.output_text == "No."
    assert "".join(each.delta for each in found if each.type == "response.output_text.delta") == "No."
    assert "sec" not in str(list(instead_of(events_of(["sec", "ret"]), "No.")))
