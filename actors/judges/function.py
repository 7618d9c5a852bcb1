"""A Python function as judge: conversations in, labels with probabilities out.

The function is named as `package.module:name`. It gets a list of conversations. Each is a list of messages with `role`
and `content`, and the last one is the assistant's answer. It returns one entry for each:

- a label: Accept, Caution or Refuse, in any case;
- labels with their probabilities, such as `{"Refuse": 0.9, "Accept": 0.1}`, whose sum is the coverage;
- None: no label.

Its module is imported from what is installed, or from the current folder.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actors.contract.conversation import turns_read
from actors.contract.records import LABELS, PolicyRef
from actors.errors import SalusError, cause_in
from actors.judges.judge import NO_PROMPT, Scores

Message = dict[str, str]
JudgeFunction = Callable[[list[list[Message]]], Sequence[object]]
# As a setting holds it.
FUNCTION_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
_PLACES: Mapping[str, int] = {label.casefold(): place for place, label in enumerate(LABELS)}
_REFUSE = LABELS.index("Refuse")
# Probabilities that are rounded may sum to a little more than 1.
_SUM = 1.01
# Characters of an error or a value that are shown.
_SHOWN = 200


def function_judge_name(function: str) -> str:
    """The judge's name in records and folders."""
    return f"python-{function.replace(':', '.')}"


def load_function(function: str) -> JudgeFunction:
    """Import the function that a setting names.

    Raises:
        SalusError: its module cannot be imported, or has nothing callable of this name.
    """
    module, _, name = function.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        # Last, so that no file here takes the place of an installed module.
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # Importing runs whatever the module holds.
        raise SalusError(
            f"judge.function {function} cannot be imported ({_said(error)}); install its module, or put it into the"
            " folder where salus is started."
        ) from error
    if not callable(found):
        raise SalusError(f"judge.function {function}: module {module} has no function {name}; name one that it has.")
    loaded: JudgeFunction = found
    return loaded


def function_source(function: str) -> Path | None:
    """The file of the module that holds the function; None where it has none. What it imports is not in it.

    Raises:
        SalusError: as `load_function`.
    """
    load_function(function)
    file = getattr(sys.modules[function.partition(":")[0]], "__file__", None)
    return Path(file) if file is not None and Path(file).is_file() else None


class FunctionScorer:
    """A Python function as judge. An empty answer is Refuse by rule, and the function does not see it.

    Raises:
        SalusError: as `load_function`.
    """

    def __init__(self, function: str) -> None:
        self.name = function_judge_name(function)
        self.prompt_version = NO_PROMPT
        self._called = function
        self._function = load_function(function)

    def load(self, policy: PolicyRef) -> None:
        """A function has no weights of a policy."""

    def score(self, requests: list[str], answers: list[str]) -> Scores:
        """Label probabilities, shape (n, 3), and coverage, shape (n,).

        Raises:
            SalusError: the function raised an error, or returned something else than it should.
        """
        p = np.full((len(answers), len(LABELS)), 1 / len(LABELS))
        coverage = np.zeros(len(answers))
        given = [number for number, answer in enumerate(answers) if answer.strip()]
        found = self._asked([_conversation(requests[row], answers[row]) for row in given])
        for row, said in zip(given, found, strict=True):
            mass = self._mass(said)
            if total := sum(mass):
                p[row], coverage[row] = np.array(mass) / total, min(total, 1.0)
        empty = [number for number, answer in enumerate(answers) if not answer.strip()]
        p[empty], coverage[empty] = np.eye(len(LABELS))[_REFUSE], 1.0
        return p, coverage

    def _asked(self, conversations: list[list[Message]]) -> list[object]:
        if not conversations:
            return []
        try:
            found: Any = self._function(conversations)
        except Exception as error:  # It is the user's own code.
            raise SalusError(
                f"judge.function {self._called} raised {_said(error)} over {len(conversations)} conversation(s); mend"
                " it, or take another judge."
            ) from error
        try:
            entries = None if isinstance(found, str | bytes | Mapping) else list(found)
        except TypeError:
            entries = None
        if entries is None or len(entries) != len(conversations):
            many = f"{len(entries)} entries" if entries is not None else type(found).__name__
            raise SalusError(
                f"judge.function {self._called} returned {many} for {len(conversations)} conversation(s); it must"
                " return a list with one entry for each."
            )
        return entries

    def _mass(self, said: object) -> list[float]:
        """Probability of each label in one entry; all 0 where it gives none."""
        mass = [0.0] * len(LABELS)
        if said is None:
            return mass
        given = {said: 1.0} if isinstance(said, str) else said
        if not isinstance(given, Mapping):
            raise SalusError(
                f"judge.function {self._called} returned {_shown(said)} for a conversation; an entry is a label, a"
                " mapping of labels to probabilities, or None."
            )
        for label, probability in given.items():
            place = _PLACES.get(str(label).strip().casefold())
            if place is None:
                raise SalusError(
                    f"judge.function {self._called} returned the label {_shown(label)}; labels are {', '.join(LABELS)}."
                )
            mass[place] += self._probability(probability)
        if sum(mass) > _SUM:
            raise SalusError(
                f"judge.function {self._called} returned probabilities that sum to {sum(mass):.3g}; they must sum to 1"
                " or, where it is unsure whether any label fits, to less."
            )
        return mass

    def _probability(self, given: object) -> float:
        try:
            value = float(given)  # type: ignore[arg-type]  # What is none raises.
        except (TypeError, ValueError):
            value = math.nan
        if not 0 <= value <= _SUM:
            raise SalusError(
                f"judge.function {self._called} returned the probability {_shown(given)}; it must be a number from 0"
                " to 1."
            )
        return value


def _conversation(request: str, answer: str) -> list[Message]:
    return [*(turn.model_dump() for turn in turns_read(request)), {"role": "assistant", "content": answer}]


def _said(error: Exception) -> str:
    """The kind of an error and what it says, in one line."""
    return _cut(f"{type(error).__name__}: {cause_in(str(error))}".removesuffix(": "))


def _shown(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 4] + " ..."
