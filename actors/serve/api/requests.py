"""The requests for answers that OpenAI's API has: which fields each may hold, and of what shape. Pure.

`Any`: the app says by itself what is wrong with it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

AnswerKind = Literal["chat", "completion", "response"]
MessageRole = Literal["system", "user", "assistant", "tool", "developer"]


class RequestShape(BaseModel):
    """An object that has these fields and no others. What it is checked for goes on as it came."""

    model_config = ConfigDict(extra="forbid")


class _FunctionCall(RequestShape):
    name: str
    arguments: str


class _ToolCall(RequestShape):
    id: str | None = None
    type: Literal["function"] = "function"
    index: int | None = None
    function: _FunctionCall


class _TextPart(RequestShape):
    type: Literal["text"]
    text: str


class _RefusalPart(RequestShape):
    type: Literal["refusal"]
    refusal: str


class _RequestMessage(RequestShape):
    role: MessageRole
    content: str | list[_TextPart | _RefusalPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: _FunctionCall | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    # An answer of OpenAI's client holds these when it is sent back as it came; the model reads none of them.
    annotations: list[Any] | None = None
    audio: None = None


class _Function(RequestShape):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(RequestShape):
    type: Literal["function"]
    function: _Function


class _FunctionName(RequestShape):
    name: str


class _NamedTool(RequestShape):
    type: Literal["function"] = "function"
    function: _FunctionName


class _JsonSchema(RequestShape):
    name: str
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class _ResponseFormat(RequestShape):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class _StreamOptions(RequestShape):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class StructuredOutputs(RequestShape):
    """vLLM's own; taken where the settings allow it."""

    # "json" is the name of a method of pydantic's.
    json_: str | dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = Field(None, min_length=1)
    grammar: str | None = None
    json_object: Literal[True] | None = None


class _Asked(RequestShape):
    """What both routes take. `Any`: the app says by itself what is wrong with it."""

    model: str | None = None
    frequency_penalty: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    max_tokens: Any = None
    metadata: Any = None
    n: Any = None
    presence_penalty: Any = None
    seed: Any = None
    stop: Any = None
    stream: Any = None
    stream_options: _StreamOptions | None = None
    temperature: Any = None
    top_p: Any = None
    user: Any = None


class ChatFields(_Asked):
    """`POST /v1/chat/completions`."""

    messages: list[_RequestMessage] = Field(default_factory=list)
    function_call: Any = None
    functions: Any = None
    max_completion_tokens: Any = None
    modalities: Any = None
    moderation: Any = None
    parallel_tool_calls: Any = None
    prediction: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    reasoning_effort: Any = None
    response_format: _ResponseFormat | None = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    tool_choice: Literal["none", "auto", "required"] | _NamedTool | None = None
    tools: list[_Tool] | None = None
    top_logprobs: Any = None
    verbosity: Any = None


class CompletionFields(_Asked):
    """`POST /v1/completions`."""

    prompt: Any = None
    best_of: Any = None
    suffix: Any = None


ItemStatus = Literal["in_progress", "completed", "incomplete"]


class _InputText(RequestShape):
    type: Literal["input_text"]
    text: str


class _OutputText(RequestShape):
    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class _InputMessage(RequestShape):
    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer"]
    content: str | list[_InputText]
    id: str | None = None
    status: ItemStatus | None = None


class _OutputMessage(RequestShape):
    type: Literal["message"] = "message"
    role: Literal["assistant"]
    # vLLM reads the first part alone.
    content: str | Annotated[list[_OutputText], Field(max_length=1)]
    id: str | None = None
    status: ItemStatus | None = None
    phase: str | None = None


class _CallItem(RequestShape):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    namespace: None = None
    status: ItemStatus | None = None


class _CallOutput(RequestShape):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[_InputText]
    id: str | None = None
    status: ItemStatus | None = None


class _ReasoningText(RequestShape):
    type: Literal["summary_text", "reasoning_text"]
    text: str


class _ReasoningItem(RequestShape):
    type: Literal["reasoning"]
    summary: list[_ReasoningText]
    content: list[_ReasoningText] | None = None
    encrypted_content: None = None
    id: str | None = None
    status: ItemStatus | None = None


class _FlatTool(_Function):
    """A function whose fields are beside its type."""

    type: Literal["function"]


class _FlatNamedTool(_FunctionName):
    type: Literal["function"]


class _TextFormat(RequestShape):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class _TextConfig(RequestShape):
    format: _TextFormat | None = None
    verbosity: Any = None


class _Reasoning(RequestShape):
    effort: Any = None
    summary: Any = None
    generate_summary: Any = None


class ResponseFields(RequestShape):
    """`POST /v1/responses`. What is kept of it is Salus's to say; see `store`."""

    model: str | None = None
    input: str | list[_InputMessage | _OutputMessage | _CallItem | _CallOutput | _ReasoningItem] | None = None
    instructions: str | None = None
    background: Literal[False] | None = None
    conversation: None = None
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    max_output_tokens: Any = None
    max_tool_calls: Any = None
    metadata: Any = None
    moderation: Any = None
    parallel_tool_calls: Any = None
    previous_response_id: None = None
    prompt: None = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    reasoning: _Reasoning | None = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None
    stream: Any = None
    stream_options: _StreamOptions | None = None
    temperature: Any = None
    text: _TextConfig | None = None
    tool_choice: Literal["none", "auto", "required"] | _FlatNamedTool | None = None
    tools: list[_FlatTool] | None = None
    top_logprobs: Any = None
    top_p: Any = None
    truncation: Any = None
    user: Any = None
