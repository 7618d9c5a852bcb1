"""One content that processes hand on: numbered objects of a folder, of which the highest number holds.

A number is taken by creating its object, which one process alone can, in object stores and in folders. (A folder
cannot replace a file on the condition that it is a certain one.) The highest number is never removed, so numbers only
grow. A process that paused and then creates a number that was removed meanwhile finds a higher one, and has lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.runs.store.objects import Objects, StoredObject

_TRIES = 10


@dataclass(frozen=True)
class NumberedObject:
    """An object that holds."""

    name: str
    number: int
    found: StoredObject


class NumberedObjects:
    """`FOLDER/N.json` of a place. OSError passes through.

    `others`: what may be between number and suffix in names of earlier versions, as a regular expression.
    """

    def __init__(self, objects: Objects, folder: str, others: str = "") -> None:
        self._objects = objects
        self._folder = folder
        self._name = re.compile(rf"{re.escape(folder)}/(?P<number>\d{{1,9}}){others}\.json")

    def name(self, number: int) -> str:
        """The name of an object that this version writes."""
        return f"{self._folder}/{number}.json"

    def names(self) -> dict[str, int]:
        """All there are, with their numbers."""
        matches = map(self._name.fullmatch, self._objects.list(self._folder))
        return {match.string: int(match["number"]) for match in matches if match is not None}

    def highest(self) -> tuple[NumberedObject, ...]:
        """The object that holds; none where there is none, and several of one number only from an earlier version."""
        for _ in range(_TRIES):
            names = self.names()
            if not names:
                return ()
            last = max(names.values())
            found = [(name, self._objects.get(name)) for name, number in names.items() if number == last]
            # A higher one may have come meanwhile, and taken it away.
            if there := tuple(NumberedObject(name, last, each) for name, each in found if each is not None):
                return there
        raise OSError(f"{self._folder} was written whenever it was read")

    def add(self, number: int, content: bytes) -> NumberedObject | None:
        """Make a content the one that holds, and remove those before it; None where another process was quicker.

        `content`: no other process writes the same. What holds afterwards counts, and not how the store answered: an
        answer that was lost on the way may have been the first of two.
        """
        created = self._objects.put_if_absent(self.name(number), content)
        last = self.highest()
        if len(last) != 1 or last[0].found.content != content:
            if created is not None:
                self._objects.delete([self.name(number)])
            return None
        self._objects.delete(name for name, earlier in self.names().items() if earlier < number)
        return last[0]
