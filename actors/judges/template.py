"""The text of a judge's prompt: versioned templates or a user's own, and how request and answer are fenced in them.

A template is named by its version, or given as its text: that is one's own, whose version is a hash of it.

A template with `{fence}` puts each quoted text between two lines that hold a mark of this judgment's own. So no answer
can imitate the end of its section. Templates without it are filled as they are.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from importlib.resources.abc import Traversable

from actors.errors import SalusError

NO_ANSWER = "[the assistant gave no answer]"
CUT_OFF_NOTE = "\nNote: the answer was cut off at its length limit; what followed is not known."

# Prompts of this name ask about the request alone.
REQUEST_PREFIX = "request-"
_PLACES = re.compile(r"(\{request\}|\{answer\}|\{fence\}|\{note\})")
# The clinic's judge was trained on empty answers as they are; the mark would be new to it.
_KNOWS_EMPTY = frozenset({"clinic-v1"})
_FENCE_CHARS = 12
_REQUEST, _ANSWER = "{request}", "{answer}"
_OWN_DIGITS = 12


class JudgeTemplate:
    """One template: of `actors/judges/prompts/` by its version, or one's own by its text.

    Raises:
        SalusError: it does not exist or lacks a placeholder.
    """

    def __init__(self, template: str) -> None:
        self.version = version_of(template)
        self._parts = _PLACES.split(load_template(template))
        self.fenced = "{fence}" in self._parts
        self._marks_empty = self.version not in _KNOWS_EMPTY

    def fill(self, request: str, answer: str, cut_off: bool = False, fence: str = "") -> str:
        """The prompt's text. Placeholders inside `request` and `answer` are text like any other.

        Args:
            request: the quoted request.
            answer: the quoted answer.
            cut_off: whether the answer ended at its length limit; said only by templates with a `{note}`.
            fence: `fence_of` both texts.
        """
        values = {
            "{request}": request,
            "{answer}": answer,
            "{fence}": fence,
            "{note}": CUT_OFF_NOTE if cut_off else "",
        }
        return "".join(values.get(part, part) for part in self._parts)

    def shown(self, answer: str) -> str:
        """The answer as the judge sees it: an empty one, which could be overlooked, by a visible mark."""
        return answer if answer.strip() or not self._marks_empty else NO_ANSWER


def fence_of(request: str, answer: str) -> str:
    """The mark of one judgment: a hash of both texts, the same in every run, that occurs in neither.

    The writer of an answer would have to guess 48 bits that depend on the answer itself.
    """
    text = f"{len(request)}\n{request}\n{answer}"
    for salt in range(1_000):
        fence = hashlib.sha256(f"{salt}\n{text}".encode("utf-8", "replace")).hexdigest()[:_FENCE_CHARS]
        if fence not in text:
            return fence
    raise AssertionError("a thousand hashes of a text cannot all occur in it")


def template_versions() -> list[str]:
    """Every template there is, in name order."""
    return sorted(f.name.removesuffix(".txt") for f in _folder().iterdir() if f.name.endswith(".txt"))


def is_own(template: str) -> bool:
    """Whether a template is given as its text: no version has a placeholder in its name."""
    return _REQUEST in template


def version_of(template: str) -> str:
    """The version of a template in judgments and reports: its name, or a hash of one's own text."""
    if not is_own(template):
        return template
    return f"own-{hashlib.sha256(template.strip().encode('utf-8', 'replace')).hexdigest()[:_OWN_DIGITS]}"


def load_template(template: str) -> str:
    """The text of a template, with its placeholders; a versioned one about requests alone has none for an answer.

    Raises:
        SalusError: it does not exist or lacks a placeholder.
    """
    version, text = version_of(template), template.strip()
    if not is_own(template):
        known = template_versions()
        if version not in known:
            raise SalusError(f"There is no judge prompt {version!r}; judge.prompt must be one of {', '.join(known)}.")
        text = (_folder() / f"{version}.txt").read_text(encoding="utf-8").strip()
    for place in (_REQUEST,) if version.startswith(REQUEST_PREFIX) else (_REQUEST, _ANSWER):
        if text.count(place) != 1:
            raise SalusError(f"The judge prompt {version} must hold {place} exactly once.")
    return text


def _folder() -> Traversable:
    return resources.files("actors.judges") / "prompts"
