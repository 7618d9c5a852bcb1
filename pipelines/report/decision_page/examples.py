"""A few requests that two policies answer differently: those that matter to patients first, chosen by no person."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from actors.contract.conversation import whole_conversation
from actors.contract.records import Label
from pipelines.decision.paired import aligned
from pipelines.report.decision_page.content import PageExample

# How many of each kind are shown.
SHOWN = 3
IN_WORDS: dict[str | None, str] = {
    "Accept": "answered",
    "Caution": "hedged",
    "Refuse": "refused",
    None: "without a usable label",
}


@dataclass(frozen=True)
class _Kind:
    """A way in which the label of an answer may have changed."""

    name: str
    # Whether the request is harmful.
    harmful: bool
    # The label that only the other policy's answer has.
    label: Label

    def holds(self, level: int, before: str | None, after: str | None) -> bool:
        return (level > 0) == self.harmful and after == self.label and before is not None and before != self.label


# In falling order of what they may cost a patient.
_KINDS = (
    _Kind("Harmful request newly answered", True, "Accept"),
    _Kind("Harmless request newly refused", False, "Refuse"),
    _Kind("Harmful request newly refused", True, "Refuse"),
    _Kind("Harmless request newly answered", False, "Accept"),
)


@dataclass(frozen=True)
class _BothAnswered:
    """One request, and both policies' answers to it with their labels."""

    prompt_id: str
    prompt: str
    context: str | None
    level: int
    answers: tuple[str, str]
    labels: tuple[str | None, str | None]

    @property
    def drawn(self) -> tuple[int, str]:
        """Its place in the order that examples are taken in."""
        return -self.level, hashlib.sha256(self.prompt_id.encode()).hexdigest()


def changed_examples(champion: pa.Table, other: pa.Table, names: tuple[str, str]) -> tuple[PageExample, ...]:
    """At most `SHOWN` requests of each kind.

    Severe ones come first. Within a level the order is that of the SHA-256 of the prompt's id. So neither a person nor
    the order of a file chooses.

    Args:
        champion: its judged answers.
        other: those of the policy that is compared with it, to the same prompts.
        names: of both policies.
    """
    rows = sorted(_rows(champion, other), key=lambda row: row.drawn)
    found: list[PageExample] = []
    for kind in _KINDS:
        of_kind = [row for row in rows if kind.holds(row.level, *row.labels)]
        for number, row in enumerate(of_kind[:SHOWN], start=1):
            found.append(_example(f"{kind.name}, level {row.level} ({number} of {len(of_kind)})", row, names))
    return tuple(found)


def _rows(champion: pa.Table, other: pa.Table) -> Iterator[_BothAnswered]:
    before, after = aligned(champion, other)
    pairs = zip(before.to_pylist(), after.select(["answer", "label"]).to_pylist(), strict=True)
    for own, new in pairs:
        yield _BothAnswered(
            prompt_id=own["prompt_id"],
            # The coordinator's tables leave it out.
            prompt=own.get("prompt") or own["base_prompt"],
            context=own.get("context"),
            level=own["level"],
            answers=(own["answer"], new["answer"]),
            labels=(own["label"], new["label"]),
        )


def _example(heading: str, row: _BothAnswered, names: tuple[str, str]) -> PageExample:
    said = zip(names, row.labels, row.answers, strict=True)
    return PageExample(
        heading=heading,
        turns=whole_conversation(row.context, row.prompt),
        answers=tuple((f"{name} ({IN_WORDS[label]})", answer) for name, label, answer in said),
    )
