"""Thoughts of a policy that thinks before it answers: where they end, and what is the answer.

A thought is kept in the record and learnt with its answer. No judge and no reader sees it.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class ThoughtMarks(BaseModel):
    """How a model marks its thoughts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begin: str = Field("<think>", min_length=1, description="what a model writes before a thought")
    end: str = Field("</think>", min_length=1, description="what a model writes after a thought")


class Spoken(NamedTuple):
    """A sampled text in its two parts."""

    # As sampled, with its marks and the white space behind: before the answer it makes the text whole again.
    thought: str | None
    answer: str
    # False: the thought never ended, so there is no answer.
    finished: bool = True


def without_thought(prompt: str, marks: ThoughtMarks) -> str:
    """A rendered prompt whose answer begins at once: a thought that the template begins is ended in it."""
    return f"{prompt}\n{marks.end}\n\n" if prompt.rstrip().endswith(marks.begin) else prompt


def spoken(text: str, prompt: str, marks: ThoughtMarks) -> Spoken:
    """What of a sampled text is thought, and what is the answer.

    Only a text that begins with a thought has one: else a policy could hide what it says before a mark.

    Args:
        prompt: the rendered prompt, which may begin the thought itself.
    """
    if not (text.lstrip().startswith(marks.begin) or prompt.rstrip().endswith(marks.begin)):
        return Spoken(None, text.strip())
    _, end, answer = text.partition(marks.end)
    if not end:
        return Spoken(text.strip(), "", finished=False)
    said = answer.lstrip()
    return Spoken(text[: len(text) - len(said)].lstrip(), said.rstrip())
