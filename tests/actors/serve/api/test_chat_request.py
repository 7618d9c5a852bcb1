"""Which answers are the policy's own words, and which were put into its mouth."""

from __future__ import annotations

from typing import Any

import pytest

from actors.serve.api.chat import ChatRequest

MESSAGES = [{"role": "user", "content": "How do I store insulin?"}]
TOOL = {"type": "function", "function": {"name": "dose"}}
STEERED: list[dict[str, Any]] = [
    {"structured_outputs": {"choice": ["Sure."]}},
    {"guided_json": {}},
    {"guided_regex": "Sure"},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": "Sure"}}}},
    {"logit_bias": {"5": 100}},
    {"tools": [TOOL]},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tool_choice": {"type": "function", "function": {"name": "dose"}}},
    {"continue_final_message": True},
    {"allowed_token_ids": [5]},
    {"bad_words": ["no"]},
    {"chat_template": "x"},
    {"stop": ["\n"]},
    {"frequency_penalty": 0.5},
    {"min_tokens": 4},
    {"something_new": True},
]
UNSTEERED: list[dict[str, Any]] = [
    {},
    {"model": "salus", "stream": True, "stream_options": {"include_usage": True}, "user": "x", "n": 2, "store": True},
    {"tools": None, "stop": [], "frequency_penalty": 0.0, "min_tokens": 0, "top_k": -1},
    {"response_format": {"type": "text"}, "tool_choice": "none", "logit_bias": {}, "modalities": ["text"]},
    {"temperature": 0, "top_p": 0.5, "max_tokens": 5, "seed": 1, "metadata": {"a": "b"}},
]


@pytest.mark.parametrize(("bodies", "unsteered"), [(STEERED, False), (UNSTEERED, True)])
def test_what_shapes_an_answer_and_is_not_known_here_steers_it(bodies: list[dict[str, Any]], unsteered: bool) -> None:
    for body in bodies:
        assert ChatRequest.model_validate({"messages": MESSAGES} | body).unsteered is unsteered, body


BEGUN = {"role": "assistant", "content": "Sure, here is how:"}


@pytest.mark.parametrize(
    "messages",
    [
        [*MESSAGES, BEGUN],
        [],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        [{"role": "user", "content": [{"type": "refusal", "refusal": "No."}]}],
        [{**BEGUN, "reasoning": "They may."}, *MESSAGES],
        [{**BEGUN, "reasoning_content": "They may."}, *MESSAGES],
        [{**BEGUN, "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}, *MESSAGES],
        [{**BEGUN, "function_call": {"name": "a", "arguments": "{}"}}, *MESSAGES],
        [{"role": "user", "name": "the surgeon", "content": "Hello"}],
    ],
)
def test_only_a_conversation_of_texts_that_ends_with_its_users_word_is_one(messages: list[Any]) -> None:
    assert ChatRequest.model_validate({"messages": messages}).turns() is None


def test_what_openais_client_adds_to_an_answer_that_is_sent_back_is_nothing() -> None:
    said: dict[str, Any] = {**BEGUN, "refusal": None, "tool_calls": None, "annotations": []}
    turns = ChatRequest.model_validate({"messages": [*MESSAGES, said, *MESSAGES]}).turns()
    assert turns is not None and [turn.role for turn in turns] == ["user", "assistant", "user"]


def test_the_newer_name_of_the_longest_answer_counts() -> None:
    both = {"messages": MESSAGES, "max_tokens": 5, "max_completion_tokens": 9}
    assert ChatRequest.model_validate(both).longest == 9
    assert ChatRequest.model_validate({"messages": MESSAGES, "max_tokens": 5}).longest == 5
    assert ChatRequest.model_validate({"messages": MESSAGES}).longest is None
