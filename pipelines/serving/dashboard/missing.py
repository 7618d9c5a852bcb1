"""Reading a run that still goes on: a piece that is not there, or cannot be read, becomes a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from actors.errors import SalusError

Piece = TypeVar("Piece")


class Missing:
    """Collects the sentences of one reading."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def ask(self, read: Callable[[], Piece], otherwise: Piece) -> Piece:
        """What `read` gives, or `otherwise` and a sentence more."""
        try:
            return read()
        except SalusError as error:
            self.tell(error.sentence)
        except OSError as error:
            # A file may go while it is read: a run begun anew, or garbage collection.
            self.tell(f"{error.filename or 'A file of the run'} cannot be read ({error.strerror or error}).")
        return otherwise

    def tell(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)
