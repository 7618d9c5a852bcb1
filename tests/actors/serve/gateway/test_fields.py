"""Which fields a request may have, by route and role; everything else is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import completion_create_params as completion
from openai.types.chat import completion_create_params as chat

from actors.serve.api.requests import ChatFields, CompletionFields
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.fields import SAMPLING_FIELDS
from tests.actors.serve.gateway.served import CHAT, Served, error_of

USER = {"role": "user", "content": "Hello"}
# vLLM takes these, and they are no client's to use.
NOT_FOR_CLIENTS: dict[str, Any] = {
    "request_id": "chatcmpl-of-another",
    "prompt_logprobs": 5,
    "kv_transfer_params": {"do_remote_prefill": True},
    "ec_transfer_params": {},
    "vllm_xargs": {"session_id": "x"},
    "chat_template": "{{ messages }}",
    "chat_template_kwargs": {"a": 1},
    "add_special_tokens": True,
    "add_generation_prompt": False,
    "continue_final_message": True,
    "echo": True,
    "mm_processor_kwargs": {},
    "media_io_kwargs": {},
    "cache_salt": "salt",
    "priority": -5,
    "session_id": "x",
    "documents": [{"title": "a", "text": "b"}],
    "use_beam_search": True,
    "length_penalty": -1e308,
    "truncate_prompt_tokens": 1,
    "logprob_token_ids": [1],
    "stream_interval": 1,
    "repetition_detection": {},
    "return_prompt_text": True,
    "prompt_embeds": "AAAA",
    "structured_outputs": {"grammar": "root ::= root"},
    "guided_json": {},
    "nonsense": 1,
}
# OpenAI's, of what this server does not do.
NOT_DONE_HERE = {"audio", "web_search_options"}


@pytest.fixture(scope="module")
def served() -> Served:
    return Served()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("name", NOT_FOR_CLIENTS)
def test_a_field_that_is_not_the_clients_is_refused_by_its_name(served: Served, path: str, name: str) -> None:
    body = {"model": "salus", name: NOT_FOR_CLIENTS[name]}
    for key in ("client", "reviewer"):
        response = served.ask("POST", path, key, json_body=body)
        assert response.status_code == 400
        error = error_of(response)
        assert (error["code"], error["param"]) == ("unknown_parameter", name) and name in error["message"]


def test_every_field_that_openais_client_sends_is_taken_or_named_here() -> None:
    sent = set(chat.CompletionCreateParamsStreaming.__annotations__)
    assert sent - set(ChatFields.model_fields) == NOT_DONE_HERE
    # Which of a prompt's tokens were likely is not told.
    assert set(completion.CompletionCreateParamsBase.__annotations__) - set(CompletionFields.model_fields) == {"echo"}


def test_a_role_may_use_what_the_settings_name_for_it_and_those_below() -> None:
    served = Served(config=GatewayConfig(extra_fields={"client": ("top_k",), "reviewer": ("min_p",)}))
    allowed = [
        [served.chat(key, **{name: 0}).status_code for name in ("top_k", "min_p", "min_tokens")]
        for key in ("client", "reviewer", "admin")
    ]
    assert allowed == [[200, 400, 400], [200, 200, 400], [200, 200, 400]]
    assert GatewayConfig().fields_of("admin") == set(SAMPLING_FIELDS)
    assert GatewayConfig().fields_of("reviewer") == set()


FORMS: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{**USER, "role": "function"}]}, "messages.0.role"),
    ({"messages": [USER, {**USER, "role": "Assistant"}]}, "messages.1.role"),
    ({"messages": [{"content": "x"}]}, "messages.0.role"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages.0"),
    ({"messages": [{**USER, "task": "x"}]}, "messages.0.task"),
    ({"messages": [{"role": "developer", "content": "x", "tools": []}]}, "messages.0.tools"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages.0.content.0"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "b": "c"}]}]}, "messages.0.content.0.b"),
    ({"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "x"}]}]}, "messages.0.content.0"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1"}}]}]},
        "messages.0.content.0",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": {"b": 1}}}]}]},
        "messages.0.tool_calls.0.function.arguments",
    ),
    ({"stream_options": {"continuous_usage_stats": True}}, "stream_options.continuous_usage_stats"),
    ({"response_format": {"type": "structural_tag", "format": {}}}, "response_format"),
    ({"tools": [{"type": "function", "function": {"name": "a"}, "defer_loading": True}]}, "tools.0.defer_loading"),
    ({"tool_choice": "any"}, "tool_choice"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 10**400}, "temperature"),
    ({"top_p": 1e308}, "top_p"),
    ({"seed": 2**63}, "seed"),
    ({"logit_bias": {"1": 1e300}}, "logit_bias"),
    ({"logit_bias": {str(n): 1 for n in range(2000)}}, "logit_bias"),
]


@pytest.mark.parametrize(("fields", "param"), FORMS)
def test_what_is_within_a_field_is_looked_at_too(served: Served, fields: dict[str, Any], param: str) -> None:
    response = served.chat(**fields)
    assert response.status_code == 400
    error = error_of(response)
    assert error["param"].startswith(param)
    # Neither a name of ours, nor of the parser's.
    assert "[" not in error["param"] and "._" not in error["param"] and "instance of" not in error["message"]


def test_a_conversation_with_tools_as_openais_client_sends_it_is_taken(served: Served) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "dose", "arguments": '{"drug": "insulin"}'}}
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "developer", "content": "Use tools."},
        {**USER, "name": "ward_3"},
        # As an answer's `model_dump()` gives it.
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "tool_calls": [call],
        },
        {"role": "tool", "content": "10 IU", "tool_call_id": "c1"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        USER,
    ]
    tools = [{"type": "function", "function": {"name": "dose", "parameters": {"type": "object"}, "strict": True}}]
    response = served.chat(messages=messages, tools=tools, tool_choice="auto", parallel_tool_calls=True, store=True)
    assert response.status_code == 200 and response.json()["seen"]["messages"] == messages


def test_allowed_fields_have_bounds_as_well() -> None:
    fields = ("use_beam_search", "length_penalty", "structured_outputs", "min_p", "prompt_logprobs")
    served = Served(config=GatewayConfig(extra_fields={"client": fields}))
    assert served.chat(use_beam_search=True, length_penalty=1.5).status_code == 200
    assert error_of(served.chat(length_penalty=-1e308))["param"] == "length_penalty"
    assert error_of(served.chat(min_p=2))["param"] == "min_p"
    assert error_of(served.chat(prompt_logprobs=10**6))["param"] == "prompt_logprobs"
    hidden = error_of(served.chat(structured_outputs={"choice": ["a"], "_backend": "outlines"}))
    assert hidden["param"] == "structured_outputs._backend"


def test_of_a_field_that_comes_twice_the_last_one_is_looked_at(served: Served) -> None:
    json_type = [("content-type", "application/json")]
    body = b'{"messages": [], "messages": [{"role": "root", "content": "x"}]}'
    assert served.ask("POST", "/v1/chat/completions", "client", json_type, content=body).status_code == 400
    assert served.ask("POST", "/v1/chat/completions", "client", json_body=CHAT).status_code == 200
