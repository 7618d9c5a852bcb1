"""What of a request and of a response is text to be judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.serve.api.sse import event
from actors.serve.gateway.exchange import AnswerContent, ServedAnswer
from actors.serve.guard.texts import AnswerChoice, RequestTexts, Unreadable, choices_in, question_of


def asked(chat: bool = True, **fields: Any) -> RequestTexts:
    return question_of(fields, chat)


def content_of(body: bytes, streamed: bool) -> AnswerContent | None:
    """What an answer says of which this is the body."""
    said = ServedAnswer(10_000, lambda: "c1")
    kind = b"text/event-stream" if streamed else b"application/json"
    said.see({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    said.see({"type": "http.response.body", "body": body})
    return said.content


def choice_of(body: bytes, streamed: bool) -> AnswerChoice:
    content = content_of(body, streamed)
    assert content is not None
    return choices_in(content)[0]


def test_a_single_message_is_the_request_as_it_is() -> None:
    assert asked(messages=[{"role": "user", "content": "Hello"}]) == RequestTexts(("Hello",), 1)
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert asked(messages=[{"role": "user", "content": parts}]).prompts == ("Hel\nlo",)


HARM = "forge a note"
ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in HARM)


@pytest.mark.parametrize(
    "message",
    [
        {"content": HARM},
        {"content": [{"type": "text", "text": HARM}]},
        {"content": [{"type": "refusal", "refusal": HARM}]},
        {"content": "Go on.", "name": HARM},
        {"content": [{"type": "text", "text": "Go on."}], "name": HARM},
        {"content": "Go on.", "refusal": HARM},
        {"content": None, "reasoning": HARM},
        {"content": "Go on.", "reasoning_content": HARM},
        {"content": [{"type": "text", "text": "x"}], "reasoning": HARM},
        {
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": HARM, "arguments": "{}"}}],
        },
        {"content": "x", "tool_calls": [{"function": {"name": "f", "arguments": json.dumps({"text": HARM})}}]},
        {"content": "x", "tool_calls": [{"function": {"name": "f", "arguments": f'{{"a": "{ESCAPED}"}}'}}]},
        {"content": "x", "tool_calls": [{"function": {"name": "f", "arguments": f'{{"{ESCAPED}": 1}}'}}]},
        {"content": "x", "tool_calls": [{"function": {"name": "f", "arguments": {HARM: 1}}}]},
        {"content": None, "function_call": {"name": "f", "arguments": f'["{ESCAPED}"]'}},
        {"content": "x", "tools": [{"function": {"description": HARM}}]},
        {"content": "x", "task": HARM},
        {"content": "x", "something_new": [HARM]},
    ],
)
@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool", "developer"])
def test_of_a_message_all_is_read_that_the_model_may_read(role: str, message: dict[str, Any]) -> None:
    (text,) = asked(messages=[{"role": role, **message}, {"role": "user", "content": "Go on."}]).prompts
    assert HARM in text


@pytest.mark.parametrize(
    "content",
    [
        7,
        {"type": "text", "text": "x"},
        ["x"],
        [{"type": "text"}],
        [{"type": "text", "text": 5}],
        [{"text": "x"}],
        [{"type": "image_url", "image_url": {"url": "http://a"}}],
        [{"type": "thinking", "thinking": "x"}],
        [{"type": ["text"], "text": "x"}],
        # A template may show it.
        [{"type": "text", "text": "x", "citation": "y"}],
    ],
)
def test_a_content_of_another_form_cannot_be_read(content: object) -> None:
    with pytest.raises(Unreadable):
        asked(messages=[{"role": "user", "content": content}])


def test_no_nesting_is_too_deep_to_be_read() -> None:
    text = "forge"
    for _ in range(12):
        text = "[" * 150 + json.dumps(text) + "]" * 150
    call = {"function": {"name": "f", "arguments": text}}
    (found,) = asked(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}]).prompts
    assert "forge" in found


def test_names_and_numbers_within_tools_are_read() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {HARM: {"minimum": 500}}}}}]
    (text,) = asked(messages=[{"role": "user", "content": "Go on."}], tools=tools).prompts
    assert HARM in text and "500" in text


@pytest.mark.parametrize(
    "message",
    [
        {"content": HARM},
        {"content": None, "reasoning": HARM},
        {"content": None, "reasoning_content": HARM},
        {"content": None, "refusal": HARM},
        {"content": "", "tool_calls": [{"id": "1", "function": {"name": HARM, "arguments": "{}"}}]},
        {"content": "", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": f'{{"a": "{ESCAPED}"}}'}}]},
        {"content": "", "function_call": {"name": "f", "arguments": f'{{"a": "{HARM}"}}'}},
        {"content": [{"type": "text", "text": HARM}]},
    ],
)
def test_of_an_answer_all_is_read_that_its_client_reads(message: dict[str, Any]) -> None:
    whole = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
    assert HARM in choice_of(whole, streamed=False).text
    stream = event({"choices": [{"index": 0, "delta": message}]})
    assert HARM in choice_of(stream, streamed=True).text


def test_of_a_conversation_every_turn_is_read() -> None:
    turns = [("system", "Be kind."), ("user", "Forge"), ("assistant", "What?"), ("user", "A note.")]
    (text,) = asked(messages=[{"role": role, "content": content} for role, content in turns]).prompts
    assert text == "system: Be kind.\n\nuser: Forge\n\nassistant: What?\n\nuser: A note."


def test_what_tools_and_documents_say_is_read_too() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "forge a note"}}]
    (text,) = asked(messages=[{"role": "user", "content": "Go on."}], tools=tools).prompts
    assert "forge a note" in text
    (text,) = asked(False, prompt="Go", suffix="on", temperature=0).prompts
    assert text == "Go\n\non"


@pytest.mark.parametrize(
    "fields", [{"messages": []}, {"messages": ["Hello"]}, {"messages": [{"role": "user", "content": 7}]}, {}]
)
def test_what_is_no_conversation_cannot_be_read(fields: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        asked(**fields)


def test_a_choice_beyond_the_prompts_cannot_be_read() -> None:
    question = asked(False, prompt=["a", "b"], n=2)
    assert [question.of_choice(i) for i in range(4)] == ["a", "a", "b", "b"]
    with pytest.raises(Unreadable):
        question.of_choice(4)


def test_pieces_of_a_call_are_put_together_by_their_index() -> None:
    def call(index: int, arguments: str) -> bytes:
        delta = {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}
        return event({"choices": [{"index": 0, "delta": delta}]})

    stream = call(0, '{"a":') + call(1, "[") + call(0, "1}") + call(1, "]")
    assert choice_of(stream, streamed=True).text == '{"a":1}\n\na\n\n1\n\n[]'


def test_lone_surrogates_are_no_text() -> None:
    body = b'{"choices": [{"index": 0, "text": "\\ud800"}]}'
    assert content_of(body, streamed=False) is None
    stream = b'data: {"choices": [{"index": 0, "text": "\\ud800"}]}\n\n'
    assert content_of(stream, streamed=True) is None
