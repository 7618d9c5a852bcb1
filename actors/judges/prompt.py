"""The judge's prompt in tokens: a versioned template, filled so that untrusted text can only be read, never obeyed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from actors.contract.records import LABELS
from actors.contract.untrusted import CUT_MARK, ChatMarkup, cut_middle_tokens, strip_invisible
from actors.engine.chat import chat_text, text_tokens
from actors.engine.thoughts import ThoughtMarks, without_thought
from actors.errors import SalusError
from actors.judges.template import JudgeTemplate, fence_of

# How often a cut is repeated, shorter each time, where the cut text took more tokens than it had before.
_CUTS = 6


class ShownPrompt(NamedTuple):
    """A judge's prompt in tokens, and whether it shows each text to its end."""

    tokens: list[int]
    request_whole: bool
    answer_whole: bool


class JudgePrompt:
    """One template, by its version or its text, bound to a judge's tokenizer and the words it may reply.

    Raises:
        SalusError: the template does not exist or lacks a placeholder, or two words begin with the same token. One
            decoded token could not tell them apart.
    """

    def __init__(self, template: str, tokenizer: Any, max_tokens: int, words: Sequence[str] = LABELS) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._template = JudgeTemplate(template)
        self.version = self._template.version
        self._plain = ChatMarkup(tokenizer).broken
        self.label_tokens = first_tokens(tokenizer, words)

    def tokens(self, request: str, answer: str, cut_off: bool = False) -> list[int]:
        """Token ids of the judge's prompt; see `shown`."""
        return self.shown(request, answer, cut_off).tokens

    def shown(self, request: str, answer: str, cut_off: bool = False) -> ShownPrompt:
        """The judge's prompt, and how much of both texts it shows.

        Invisible characters leave `request` and `answer`, and control tokens inside them are broken up. A text that is
        too long is cut from the middle with a mark: neither its beginning nor its end can push the rubric out. An empty
        answer is shown by a mark, one that was `cut_off` by a note, where the template has one.

        Raises:
            SalusError: the template alone nearly fills the engine's context.
        """
        request = self._plain(strip_invisible(request))
        answer = self._template.shown(self._plain(strip_invisible(answer)))
        # Of the whole texts: what is cut away still decides the mark.
        fence = fence_of(request, answer) if self._template.fenced else ""
        ids = self._fill(request, answer, cut_off, fence)
        if len(ids) <= self._max_tokens:
            return ShownPrompt(ids, request_whole=True, answer_whole=True)
        # Marks cost a few tokens.
        budget = self._room(cut_off, fence) - 2 * len(self._encode(CUT_MARK)) - 4
        for _ in range(_CUTS):
            parts = self._cut_both(request, answer, budget)
            ids = self._fill(*parts, cut_off, fence)
            if len(ids) <= self._max_tokens:
                return ShownPrompt(ids, request_whole=parts[0] == request, answer_whole=parts[1] == answer)
            # Cutting through characters and broken markup can cost tokens; the rubric's end must not pay for it.
            budget -= len(ids) - self._max_tokens
        return ShownPrompt(self._fill("", CUT_MARK, cut_off, fence), request_whole=False, answer_whole=False)

    def check_room(self) -> None:
        """Refuse, before there is anything to judge, a template that leaves no room for it.

        Raises:
            SalusError: as `tokens` does.
        """
        self._room(True, fence_of("", "") if self._template.fenced else "")

    def _room(self, cut_off: bool, fence: str) -> int:
        """Tokens that the template leaves for request and answer."""
        room = self._max_tokens - len(self._fill("", "", cut_off, fence))
        if room < 8:
            raise SalusError(
                f"The judge prompt {self.version} leaves {room} tokens for request and answer; raise"
                " judge.engine.max_model_len."
            )
        return room

    def _cut_both(self, request: str, answer: str, budget: int) -> tuple[str, str]:
        # The request keeps at most a third, unless the answer leaves more.
        share = min(len(self._encode(request)), max(budget // 3, budget - len(self._encode(answer))))
        return self._cut(request, share), self._cut(answer, budget - share)

    def _fill(self, request: str, answer: str, cut_off: bool, fence: str) -> list[int]:
        asked = chat_text(self._tokenizer, self._template.fill(request, answer, cut_off, fence))
        # A judge's first word is its label.
        return text_tokens(self._tokenizer, without_thought(asked, ThoughtMarks()))

    def _cut(self, text: str, budget: int) -> str:
        ids = self._encode(text)
        if len(ids) <= budget:
            return text
        return self._plain(cut_middle_tokens(self._tokenizer, ids, budget))

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def first_tokens(tokenizer: Any, words: Sequence[str]) -> tuple[int, ...]:
    """First token of each word a judge may reply.

    Raises:
        SalusError: two words share their first token.
    """
    first = tuple(tokenizer.encode(word, add_special_tokens=False)[0] for word in words)
    if len(set(first)) < len(words):
        raise SalusError(
            f"The words {', '.join(words)} begin with the same token in the judge's tokenizer"
            f" ({tokenizer.name_or_path}); choose a judge whose tokenizer tells them apart."
        )
    return first
