"""The judge's prompt: a versioned template, filled so that untrusted text can only be read, never obeyed as markup."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from actors.engine import chat_tokens
from actors.errors import SalusError
from actors.records import LABELS

_PLACES = re.compile(r"(\{request\}|\{answer\})")
CUT_MARK = " [...] "


class JudgePrompt:
    """One template of `actors/judge_prompts/`, bound to a judge's tokenizer.

    Raises:
        SalusError: the template does not exist or lacks a placeholder, or two labels begin with the same
            token, so that one decoded token could not tell them apart.
    """

    def __init__(self, version: str, tokenizer: Any, max_tokens: int) -> None:
        self.version = version
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._parts = _PLACES.split(load_template(version))
        self._markup = _markup_pattern(tokenizer)
        self.label_tokens = label_tokens(tokenizer)

    def tokens(self, request: str, answer: str) -> list[int]:
        """Token ids of the judge's prompt.

        Control tokens inside `request` and `answer` are broken up, and whichever is too long is cut from
        the middle with a mark, so that neither its beginning nor its end can push the rubric out.
        """
        request, answer = self._plain(request), self._plain(answer)
        ids = self._fill(request, answer)
        if len(ids) <= self._max_tokens:
            return ids
        room = self._max_tokens - len(self._fill("", ""))
        if room < 8:
            raise SalusError(
                f"The judge prompt {self.version} leaves {room} tokens for request and answer; raise"
                " judge.engine.max_model_len."
            )
        # The request keeps at most a third, unless the answer leaves more. Marks cost a few tokens.
        budget = room - 2 * len(self._encode(CUT_MARK)) - 4
        answer_length = len(self._encode(answer))
        request = self._cut(request, max(budget // 3, budget - answer_length))
        answer = self._cut(answer, budget - len(self._encode(request)))
        return self._fill(request, answer)[: self._max_tokens]

    def _fill(self, request: str, answer: str) -> list[int]:
        values = {"{request}": request, "{answer}": answer}
        return chat_tokens(self._tokenizer, "".join(values.get(part, part) for part in self._parts))

    def _plain(self, text: str) -> str:
        if self._markup is None:
            return text
        return self._markup.sub(lambda found: found.group()[0] + " " + found.group()[1:], text)

    def _cut(self, text: str, budget: int) -> str:
        ids = self._encode(text)
        if len(ids) <= budget:
            return text
        half = max(budget // 2, 1)
        # A cut inside a multi-byte character leaves replacement characters, which are dropped.
        head, tail = (self._tokenizer.decode(part).replace("\ufffd", "") for part in (ids[:half], ids[-half:]))
        return self._plain(head + CUT_MARK + tail)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def load_template(version: str) -> str:
    """The text of one versioned template, with both placeholders."""
    folder = resources.files("actors") / "judge_prompts"
    known = sorted(f.name.removesuffix(".txt") for f in folder.iterdir() if f.name.endswith(".txt"))
    if version not in known:
        raise SalusError(f"There is no judge prompt {version!r}; judge.prompt must be one of {', '.join(known)}.")
    text = (folder / f"{version}.txt").read_text(encoding="utf-8").strip()
    for place in ("{request}", "{answer}"):
        if text.count(place) != 1:
            raise SalusError(f"The judge prompt {version} must hold {place} exactly once.")
    return text


def label_tokens(tokenizer: Any) -> tuple[int, ...]:
    """First token of each label, in the order of `LABELS`.

    Raises:
        SalusError: two labels share their first token.
    """
    first = tuple(tokenizer.encode(label, add_special_tokens=False)[0] for label in LABELS)
    if len(set(first)) < len(LABELS):
        raise SalusError(
            f"The labels {', '.join(LABELS)} begin with the same token in the judge's tokenizer"
            f" ({tokenizer.name_or_path}); choose a judge whose tokenizer tells them apart."
        )
    return first


def _markup_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    added = {str(token) for token in tokenizer.get_added_vocab()} | set(tokenizer.all_special_tokens)
    spelled = sorted((token for token in added if len(token) > 1), key=lambda t: (-len(t), t))
    return re.compile("|".join(map(re.escape, spelled))) if spelled else None
