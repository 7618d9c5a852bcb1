"""The fields that a request for answers may have: those of OpenAI's API, and what the settings add for a role.

vLLM's server takes many more, and new ones with every release. Some of them read or change what is not the client's:
ids of answers, the chat template, other requests' caches. So what is not listed here is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from actors.serve.gateway.refusal import Refused

MessageRole = Literal["system", "user", "assistant", "tool", "developer"]
# What vLLM takes beyond OpenAI's fields that shapes the sender's own answer alone.
SAMPLING_FIELDS = (
    "top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos", "include_stop_str_in_output",
    "skip_special_tokens", "bad_words", "allowed_token_ids", "return_token_ids", "structured_outputs",
)  # fmt: skip
_LONGEST_NAME = 100
# How pydantic names the classes below.
_INTERNAL = re.compile(r" or instance of _?\w+")
_WHOLE = 2**63 - 1
# The least and the most of a number, for every role; a wider one is no setting, but a way to make arithmetic fail.
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "top_k": (-1, 2**31 - 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "repetition_penalty": (0.01, 100),
    "length_penalty": (-10, 10),
    "seed": (-_WHOLE, _WHOLE),
    "top_logprobs": (0, 20),
    "prompt_logprobs": (0, 20),
    "min_tokens": (0, 2**31 - 1),
}
_MOST_BIASES = 1024
_MOST_BIAS = 100


class _Shape(BaseModel):
    """An object that has these fields and no others. What it is checked for goes on as it came."""

    model_config = ConfigDict(extra="forbid")


class _FunctionCall(_Shape):
    name: str
    arguments: str


class _ToolCall(_Shape):
    id: str | None = None
    type: Literal["function"] = "function"
    index: int | None = None
    function: _FunctionCall


class _TextPart(_Shape):
    type: Literal["text"]
    text: str


class _RefusalPart(_Shape):
    type: Literal["refusal"]
    refusal: str


class _RequestMessage(_Shape):
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


class _Function(_Shape):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(_Shape):
    type: Literal["function"]
    function: _Function


class _FunctionName(_Shape):
    name: str


class _NamedTool(_Shape):
    type: Literal["function"] = "function"
    function: _FunctionName


class _JsonSchema(_Shape):
    name: str
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class _ResponseFormat(_Shape):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class _StreamOptions(_Shape):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class _StructuredOutputs(_Shape):
    """vLLM's own; taken where the settings allow it."""

    # "json" is the name of a method of pydantic's.
    json_: str | dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = Field(None, min_length=1)
    grammar: str | None = None
    json_object: Literal[True] | None = None


class _Asked(_Shape):
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


# Shapes of extra fields; others are for the app to read.
_EXTRA_SHAPES: dict[str, type[_Shape]] = {"structured_outputs": _StructuredOutputs}


def check_fields(asked: Mapping[str, Any], chat: bool, extra: Collection[str]) -> None:
    """Refuse a request with a field, or a number, that it may not have.

    Args:
        chat: whether it is for a chat completion.
        extra: the names of further fields that its sender may use.

    Raises:
        Refused: (400) says which.
    """
    shape = ChatFields if chat else CompletionFields
    own = {name: value for name, value in asked.items() if name in shape.model_fields or name not in extra}
    _check(shape, own, ())
    for name, inner in _EXTRA_SHAPES.items():
        if name in extra and asked.get(name) is not None:
            _check(inner, asked[name], (name,))
    for name, (least, most) in _RANGES.items():
        if not _within(asked.get(name), least, most):
            raise Refused(400, f"{name} must be a number from {least:g} to {most:g}.", "invalid_value", name)
    _check_bias(asked.get("logit_bias"))


def _check(shape: type[_Shape], value: object, above: tuple[str, ...]) -> None:
    try:
        shape.model_validate(value, strict=True)
    except ValidationError as error:
        raise _refused(error.errors(include_url=False, include_context=False), value, above) from None


def _refused(errors: list[ErrorDetails], value: object, above: tuple[str, ...]) -> Refused:
    # Of several forms that a value may have, the one that it got furthest in.
    found = max(errors, key=lambda error: (error["type"] == "extra_forbidden", len(error["loc"])))
    place = ".".join((*above, *_steps(value, found["loc"])))
    place = place if len(place) <= _LONGEST_NAME else place[:_LONGEST_NAME] + "..."
    if found["type"] != "extra_forbidden":
        return Refused(400, f"{place}: {_INTERNAL.sub('', found['msg'])}.", "invalid_value", place)
    sentence = f"This server takes no field {place}."
    if len(found["loc"]) == 1 and not above:
        sentence += " Its operator may allow it by gateway.extra_fields."
    return Refused(400, sentence, "unknown_parameter", place)


def _steps(value: object, loc: tuple[int | str, ...]) -> Iterator[str]:
    """The way to a place in a value, without the names of types that pydantic puts between."""
    for number, step in enumerate(loc):
        if (isinstance(value, Mapping) and step in value) or (isinstance(value, list) and isinstance(step, int)):
            value = value[step]  # type: ignore[index]
        elif isinstance(value, Mapping) and number == len(loc) - 1:
            # A field that is missing.
            value = None
        else:
            continue
        yield str(step)


def _within(value: object, least: float, most: float) -> bool:
    """Whether a number is within its range; what is no number at all is for the app to refuse."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    return least <= value <= most


def _check_bias(bias: object) -> None:
    if not isinstance(bias, Mapping):
        return
    if len(bias) > _MOST_BIASES:
        raise Refused(400, f"logit_bias has more than {_MOST_BIASES} entries.", "invalid_value", "logit_bias")
    if not all(_within(value, -_MOST_BIAS, _MOST_BIAS) for value in bias.values()):
        sentence = f"Each value of logit_bias must be a number from {-_MOST_BIAS} to {_MOST_BIAS}."
        raise Refused(400, sentence, "invalid_value", "logit_bias")
