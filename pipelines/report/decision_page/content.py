"""What a decision's page says, whatever form it is shown in: sections of sentences, tables and examples."""

from __future__ import annotations

from collections.abc import Iterator

from actors.contract.conversation import Turn
from actors.contract.records import Record


class PageTable(Record):
    """One table; every row has as many cells as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class PageExample(Record):
    """One request and the answers of two policies to it."""

    heading: str
    # The conversation, the user's question last.
    turns: tuple[Turn, ...]
    # Of the champion, then of the other policy: its name with its label, and what it said.
    answers: tuple[tuple[str, str], ...]


class PageSection(Record):
    """One question that a reader has, and what answers it."""

    title: str
    paragraphs: tuple[str, ...] = ()
    table: PageTable | None = None
    # After the table.
    notes: tuple[str, ...] = ()
    examples: tuple[PageExample, ...] = ()

    def texts(self) -> Iterator[str]:
        """All that is said in our own words, so without prompts and answers."""
        yield self.title
        yield from self.paragraphs
        if self.table is not None:
            yield from (cell for row in (self.table.header, *self.table.rows) for cell in row)
        yield from self.notes
        for example in self.examples:
            yield from (example.heading, *(who for who, _ in example.answers))


class GlossaryTerm(Record):
    """A word of the page, and what it means."""

    name: str
    meaning: str


class DecisionPage(Record):
    """The page of one decision, from top to bottom."""

    title: str
    sections: tuple[PageSection, ...]
    glossary: tuple[GlossaryTerm, ...]
