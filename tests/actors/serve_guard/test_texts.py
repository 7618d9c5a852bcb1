"""What of a request and of a response is text to be judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.serve_guard.texts import Question, Unreadable, question_of, response_of
from actors.sse import event


def asked(chat: bool = True, **fields: Any) -> Question:
    return question_of(json.dumps(fields).encode(), chat)


def test_a_single_message_is_the_request_as_it_is() -> None:
    assert asked(messages=[{"role": "user", "content": "Hello"}]) == Question(("Hello",), 1)
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert asked(messages=[{"role": "user", "name": "bob", "content": parts}]).prompts == ("Hel\nlo",)


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
    assert response_of(stream, streamed=True).choices()[0].text == '{"a":1}\n\n[]'


def test_lone_surrogates_are_no_text() -> None:
    body = b'{"choices": [{"index": 0, "text": "\\ud800"}]}'
    with pytest.raises(Unreadable):
        response_of(body, streamed=False)
    stream = b'data: {"choices": [{"index": 0, "text": "\\ud800"}]}\n\n'
    with pytest.raises(Unreadable):
        response_of(stream, streamed=True)
