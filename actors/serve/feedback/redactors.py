"""Which redactor a configuration names: the rules, Presidio where it is installed, or a function of the team's own.

Presidio's adapter is written by its documented interface (`AnalyzerEngine.analyze(text, language)` gives results with
`start`, `end` and `entity_type`); it has not been run with Presidio's own models.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from actors.errors import SalusError
from actors.serve.feedback.config import PRESIDIO, RULES, FeedbackConfig
from actors.serve.feedback.redaction import MARK, Redactor, RuleRedactor, until_settled


class Found(Protocol):
    """A stretch of text that names a person, a place, a date, ..."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def entity_type(self) -> str: ...


class Analyzer(Protocol):
    """What is used of Presidio's AnalyzerEngine."""

    def analyze(self, text: str, language: str) -> Iterable[Found]: ...


class PresidioRedactor:
    """What an analyzer finds, and behind it what the rules find."""

    def __init__(self, analyzer: Analyzer, language: str) -> None:
        self._analyzer = analyzer
        self._language = language
        self._rules = RuleRedactor()

    def redact(self, text: str) -> str:
        # What is found may depend on the text around it, so until nothing is left to find.
        return until_settled(lambda each: self._rules.redact(self._once(each)), text)

    def _once(self, text: str) -> str:
        pieces: list[str] = []
        done = 0
        for start, end, mark in self._stretches(text):
            if start >= done:
                pieces += [text[done:start], f"[{mark}]"]
                done = end
        return "".join(pieces) + text[done:]

    def _stretches(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Stretches by their place, the longer of two that begin together first; marks are left alone."""
        marks = [found.span() for found in MARK.finditer(text)]
        results = self._analyzer.analyze(text=text, language=self._language)
        for found in sorted(results, key=lambda f: (f.start, -f.end)):
            in_mark = any(start < found.end and found.start < end for start, end in marks)
            if found.start < found.end and not in_mark:
                yield found.start, found.end, found.entity_type


class HookRedactor:
    """A team's own function from text to text."""

    def __init__(self, hook: Callable[[str], Any], name: str) -> None:
        self._hook = hook
        self._name = name

    def redact(self, text: str) -> str:
        redacted = self._hook(text)
        if not isinstance(redacted, str):
            raise SalusError(
                f"feedback.redactor {self._name} gave {type(redacted).__name__} for a text; let it return the text"
                " that may be kept."
            )
        return redacted


def load_redactor(config: FeedbackConfig) -> Redactor:
    """The redactor that a configuration names.

    Raises:
        SalusError: Presidio is not installed or has no model, or there is no such function.
    """
    if config.redactor == RULES:
        return RuleRedactor()
    if config.redactor == PRESIDIO:
        return PresidioRedactor(_presidio(), config.language)
    return HookRedactor(_hook(config.redactor), config.redactor)


def _presidio() -> Analyzer:
    try:
        analyzer: Analyzer = importlib.import_module("presidio_analyzer").AnalyzerEngine()
    except (ImportError, OSError) as error:
        raise SalusError(
            f"feedback.redactor 'presidio' cannot be used here ({type(error).__name__}: {error}); install"
            " presidio-analyzer and its spaCy model, or take 'rules'."
        ) from error
    return analyzer


def _hook(name: str) -> Callable[[str], Any]:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise SalusError(
            f"feedback.redactor {name!r} is none of rules and presidio, and no function as package.module:name."
        )
    try:
        hook = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SalusError(
            f"feedback.redactor {name} is not found ({error}); name a function from text to text."
        ) from error
    if not callable(hook):
        raise SalusError(f"feedback.redactor {name} is no function; name one from text to text.")
    return hook  # type: ignore[no-any-return]
