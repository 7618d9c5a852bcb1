"""The one error a user is meant to read: what is wrong, where, and how to mend it."""

from __future__ import annotations


class SalusError(Exception):
    """A fault the user can mend; its text is one clear sentence and is shown without a traceback.

    The command line prints it and exits with code 2. It pickles by its text alone, so that it
    crosses a Ray actor boundary unchanged.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __reduce__(self) -> tuple[type[SalusError], tuple[str]]:
        return (type(self), (self.sentence,))
