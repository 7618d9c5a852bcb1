"""A reasoning parser of vLLM that cuts thoughts as generators do: clients read the answer that was judged.

vLLM imports this file by its path (`reasoning_parser_plugin`) in the server and in the engine core. The marks come in
the environment, as vLLM gives a parser the tokenizer alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from vllm.entrypoints.generate.base.protocol import DeltaMessage
from vllm.reasoning import ReasoningParser, ReasoningParserManager

from actors.engine.chat import chat_text, text_tokens
from actors.engine.thoughts import ThoughtMarks, spoken
from actors.serve.replica.options import THOUGHT_MARKS, THOUGHT_PARSER

# Tokens that hold the end of a thought, however it is split.
_LOOKED_AT = 64


class ThoughtParser(ReasoningParser):
    """`actors.engine.thoughts.spoken`, of whole answers and of streamed ones."""

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, *args, **kwargs)
        self._marks = ThoughtMarks.model_validate(json.loads(os.environ[THOUGHT_MARKS]))
        self._prompt = chat_text(tokenizer, "?")
        self._end = text_tokens(tokenizer, self._marks.end)
        self._began = self._prompt.rstrip().endswith(self._marks.begin)

    @property
    def reasoning_start_str(self) -> str:
        return self._marks.begin

    @property
    def reasoning_end_str(self) -> str:
        return self._marks.end

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Whether a thought has ended in these tokens: of a prompt, that its template ended it at once."""
        _, ended, behind = str(self.model_tokenizer.decode(list(input_ids))).rpartition(self._marks.end)
        return bool(ended) and self._marks.begin not in behind

    def is_reasoning_end_streaming(self, input_ids: Sequence[int], delta_ids: Iterable[int]) -> bool:
        """The same where only the last tokens are new."""
        return self.is_reasoning_end(input_ids[-_LOOKED_AT:])

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """The tokens behind the first end of a thought; all of them where none ends."""
        size = len(self._end)
        found = next((i for i in range(len(input_ids) - size + 1) if input_ids[i : i + size] == self._end), None)
        return input_ids if found is None else input_ids[found + size :]

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """The thought, if there is one, and the answer."""
        found = spoken(model_output, self._prompt, self._marks)
        # An answer without a thought stays as the model wrote it.
        return (found.thought, found.answer) if found.thought is not None else (None, model_output)

    def extract_reasoning_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
    ) -> DeltaMessage | None:
        """What is new in the thought and in the answer; None while it is not known which of the two it is."""
        before, now = self._parts(previous_text), self._parts(current_text)
        thought, answer = now[0][len(before[0]) :], now[1][len(before[1]) :]
        if not thought and not answer:
            return None
        return DeltaMessage(reasoning=thought or None, content=answer or None)

    def _parts(self, text: str) -> tuple[str, str]:
        """The thought and the answer as far as both are sure, whatever comes next."""
        begin, end = self._marks.begin, self._marks.end
        if not (self._began or text.lstrip().startswith(begin)):
            # It may still become the mark.
            return ("", "") if begin.startswith(text.lstrip()) else ("", text)
        thought, found, answer = text.partition(end)
        if found:
            return thought + found, answer.lstrip()
        # The end of the text may be the beginning of the mark.
        held = next((size for size in range(min(len(end), len(text)), 0, -1) if text.endswith(end[:size])), 0)
        return text[: len(text) - held], ""


ReasoningParserManager.register_module(THOUGHT_PARSER, module=ThoughtParser, force=True)
