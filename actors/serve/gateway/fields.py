"""The fields that a request for answers may have: those of OpenAI's API, and what the settings add for a role.

vLLM's server takes many more, and new ones with every release. Some of them read or change what is not the client's:
ids of answers, the chat template, other requests' caches. So what is not listed here is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from actors.serve.api.requests import (
    AnswerKind,
    ChatFields,
    CompletionFields,
    RequestShape,
    ResponseFields,
    StructuredOutputs,
)
from actors.serve.gateway.refusal import Refused

# What vLLM takes beyond OpenAI's fields that shapes the sender's own answer alone.
SAMPLING_FIELDS = (
    "top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos", "include_stop_str_in_output",
    "skip_special_tokens", "bad_words", "allowed_token_ids", "return_token_ids", "structured_outputs",
)  # fmt: skip
_LONGEST_NAME = 100
# How pydantic names the classes of shapes.
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
# They ask for what was said before, or for an answer to be fetched later. vLLM would give it to any caller.
_KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "background")
_SHAPES: dict[AnswerKind, type[RequestShape]] = {
    "chat": ChatFields,
    "completion": CompletionFields,
    "response": ResponseFields,
}
# Shapes of extra fields; others are for the app to read.
_EXTRA_SHAPES: dict[str, type[RequestShape]] = {"structured_outputs": StructuredOutputs}


def check_fields(asked: Mapping[str, Any], asks: AnswerKind, extra: Collection[str]) -> None:
    """Refuse a request with a field, or a number, that it may not have.

    Args:
        asks: what it is for.
        extra: the names of further fields that its sender may use.

    Raises:
        Refused: (400) says which.
    """
    shape = _SHAPES[asks]
    if asks == "response":
        _check_response(asked)
    own = {name: value for name, value in asked.items() if name in shape.model_fields or name not in extra}
    _check(shape, own, ())
    for name, inner in _EXTRA_SHAPES.items():
        if name in extra and asked.get(name) is not None:
            _check(inner, asked[name], (name,))
    for name, (least, most) in _RANGES.items():
        if not _within(asked.get(name), least, most):
            raise Refused(400, f"{name} must be a number from {least:g} to {most:g}.", "invalid_value", name)
    _check_bias(asked.get("logit_bias"))


def _check_response(asked: Mapping[str, Any]) -> None:
    for name in _KEPT_ELSEWHERE:
        if asked.get(name):
            sentence = (
                f"{name} needs answers that are kept, and none is kept here: send the whole conversation as input."
            )
            raise Refused(400, sentence, "unsupported_parameter", name)
    items = asked.get("input")
    last = items[-1] if isinstance(items, list) and items else None
    if isinstance(last, Mapping) and last.get("status") in ("in_progress", "incomplete"):
        # vLLM would go on with the words of the sender as if they were the model's.
        raise Refused(400, "The last item of input must be complete.", "invalid_value", "input")


def _check(shape: type[RequestShape], value: object, above: tuple[str, ...]) -> None:
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
