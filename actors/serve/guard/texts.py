"""The texts a guard judges: what a request asks, and all that its response says, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from actors.serve.gateway.exchange import AnswerContent
from actors.serve.guard.model import JudgedExchange

# Of an answer: who speaks, and names of things; everything else in it was written by the model.
_NO_TEXT = frozenset({"role", "id", "type", "index"})
# Of a part of a message's content: what kinds hold text, and where.
_PART_TEXTS = {"text": "text", "refusal": "refusal"}
# Of a message: what is no text, or is read apart.
_READ_APART = frozenset({"role", "content", "type", "index"})
# Where the answer itself is in a message, or in a choice of a completion.
_CONTENT = {("content",), ("text",)}
# The fields of a request that are read apart from all others.
_PROMPTS = frozenset({"messages", "prompt"})


class Unreadable(Exception):
    """A request or a response has no shape that a guard can read."""


@dataclass(frozen=True)
class RequestTexts:
    """What a request asks: a text for each of its prompts, and the answers it wants to each."""

    prompts: tuple[str, ...]
    answers_each: int

    def of_choice(self, index: int) -> str:
        """The prompt that a choice answers: vLLM counts through the answers to the first one, then the next."""
        place = index // self.answers_each
        if place >= len(self.prompts):
            raise Unreadable
        return self.prompts[place]


@dataclass
class AnswerChoice:
    """One answer, put together from the deltas of a stream or from a whole message."""

    parts: dict[tuple[str, ...], str] = field(default_factory=dict)
    finish_reason: str | None = None

    @property
    def text(self) -> str:
        """The answer itself, and behind it whatever else the model wrote: its reasoning, calls of tools."""
        content = [text for path, text in self.parts.items() if path in _CONTENT]
        others = [
            each
            for path, text in self.parts.items()
            if path not in _CONTENT
            for each in dict.fromkeys(_all_texts(text))
        ]
        return "\n\n".join(text for text in (*content, *others) if text)


def failed(content: AnswerContent) -> bool:
    """Whether an answer tells of an error in a stream that had begun well."""
    return content.streamed and any("error" in part for part in content.parts)


def choices_in(content: AnswerContent) -> dict[int, AnswerChoice]:
    """Every choice of an answer by its index. Raises Unreadable where there is none, or they have another shape."""
    found: dict[int, AnswerChoice] = {}
    for part in content.parts:
        for choice in choices_of(part):
            answer = found.setdefault(index_of(choice), AnswerChoice())
            answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
            for path, text in _written(choice):
                answer.parts[path] = answer.parts.get(path, "") + text
    if not found:
        raise Unreadable
    return found


def to_judge(content: AnswerContent, question: RequestTexts) -> dict[int, JudgedExchange]:
    """Each choice of an answer beside its prompt. Raises Unreadable."""
    return {
        index: JudgedExchange(
            request=question.of_choice(index), answer=choice.text, cut_off=choice.finish_reason == "length"
        )
        for index, choice in sorted(choices_in(content).items())
    }


def question_of(asked: Mapping[str, Any], chat: bool) -> RequestTexts:
    """What a request asks. Raises Unreadable for anything but texts: token ids, embeddings, pictures."""
    n = asked.get("n")
    answers = n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 1
    further = _further(asked)
    if chat:
        return RequestTexts((_conversation(asked.get("messages")) + further,), answers)
    prompt = asked.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if asked.get("prompt_embeds") or not isinstance(prompts, list) or not prompts:
        raise Unreadable
    if not all(isinstance(text, str) for text in prompts):
        raise Unreadable
    return RequestTexts(tuple(text + further for text in prompts), answers)


def choices_of(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The choices of one object of a response; none in an event that has but usage. Raises Unreadable."""
    choices = part.get("choices", [])
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Unreadable
    return choices


def index_of(choice: Mapping[str, Any]) -> int:
    """Which answer a choice is, or a piece of. Raises Unreadable."""
    index = choice.get("index")
    if isinstance(index, bool) or not isinstance(index, int) or index < 0:
        raise Unreadable
    return index


def _further(asked: Mapping[str, Any]) -> str:
    """Whatever else a model may read of a request: tools and what they do, documents, forms of the answer."""
    fields = {k: v for k, v in asked.items() if isinstance(v, (list, dict)) or k == "suffix"}
    texts = [text for k, v in fields.items() if k not in _PROMPTS for text in _all_texts(v)]
    return "".join(f"\n\n{text}" for text in texts)


def _conversation(messages: object) -> str:
    """A single message as it is, as judges know requests; several with who said them."""
    if not isinstance(messages, list) or not messages:
        raise Unreadable
    turns = [(str(message.get("role")), _content(message)) for message in messages if isinstance(message, dict)]
    if len(turns) < len(messages):
        raise Unreadable
    return turns[0][1] if len(turns) == 1 else "\n\n".join(f"{role}: {text}" for role, text in turns)


def _content(message: Mapping[str, Any]) -> str:
    """All that a template may put into the prompt of a message: its content first, then calls, names and reasoning."""
    others = [text for name, value in message.items() if name not in _READ_APART for text in _all_texts(value)]
    return "\n".join([*_parts(message.get("content")), *others]).strip("\n")


def _parts(content: object) -> Iterator[str]:
    """The texts of a content, in their order. Raises Unreadable where it holds anything else."""
    if isinstance(content, str):
        yield content
    elif content is not None:
        if not isinstance(content, list):
            raise Unreadable
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            text = part.get(_PART_TEXTS.get(kind, "")) if isinstance(kind, str) else None
            # Another field of a part may reach the prompt by the template.
            if not isinstance(text, str) or len(part) > 2:
                raise Unreadable
            yield text


def _all_texts(value: object, within: bool = False) -> Iterator[str]:
    """Every text, name and number in a value; of a text that is JSON, as a call's arguments are, those in it too.

    A template puts the parsed arguments into the prompt, where an escaped letter is a letter again. It parses them
    once, and so does this: texts `within` them stay as they are.
    """
    if isinstance(value, str):
        yield value
        if not within and value.lstrip().startswith(("{", "[")) and (inner := _json_in(value)) is not None:
            yield from _all_texts(inner, within=True)
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield str(name)
            yield from _all_texts(part, within)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _all_texts(part, within)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)


def _json_in(text: str) -> object:
    try:
        return from_json(text)
    except ValueError:
        return None


def _written(choice: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text that the model wrote in a choice, and where it is."""
    for name in ("message", "delta"):
        if isinstance(said := choice.get(name), dict):
            yield from _strings(said, ())
    if isinstance(text := choice.get("text"), str):
        yield ("text",), text


def _strings(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if name not in _NO_TEXT:
                yield from _strings(part, (*path, str(name)))
    elif isinstance(value, Sequence):
        for place, part in enumerate(value):
            # Pieces of one call of a tool come under its index, wherever they are in their event.
            index = part.get("index", place) if isinstance(part, Mapping) else place
            yield from _strings(part, (*path, str(index)))
