"""Text of others as plain words in Markdown: no markup, link, mention or HTML of theirs comes to life."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Characters Markdown or its common extensions give a meaning to in the middle of a line.
_MARKUP = re.compile(r"([\\`*_\[\]|~$!])")
# As entities: HTML, and what GitHub turns into links and mentions by itself.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", ":": "&#58;", "@": "&#64;", ".": "&#46;"}
_ENTITY = re.compile(r"[&<>@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def plain(text: object, longest: int = 2000) -> str:
    """One line that renders as the text itself, wherever it stands after the first word of a line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) > longest:
        line = line[: longest - 4] + " ..."
    return _ENTITY.sub(lambda found: _ENTITIES[found[0]], _MARKUP.sub(r"\\\1", line))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A pipe table; the cells are text of others, the header is ours."""
    lines = [_line(header), _line(["---"] * len(header))]
    return "\n".join([*lines, *(_line([plain(cell) for cell in row]) for row in rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
