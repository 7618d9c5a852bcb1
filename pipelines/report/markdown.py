"""Markdown in which no text of others comes to life: what is escaped, and templates that escape every expression."""

from __future__ import annotations

import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

# Characters Markdown or its common extensions give a meaning to in the middle of a line.
_MARKUP = re.compile(r"([\\`*_\[\]|~$!])")
# As entities: HTML, and what GitHub turns into links and mentions by itself.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", ":": "&#58;", "@": "&#64;", ".": "&#46;"}
_ENTITY = re.compile(r"[&<>@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


@cache
def markdown_environment(package: str) -> Environment:
    """The templates of a package, of which every expression is escaped, without exception."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=lambda value: Markup(plain(value)),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def plain(text: object, longest: int = 2000) -> str:
    """One line that renders as the text itself, anywhere after the first word of a line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) > longest:
        line = line[: longest - 4] + " ..."
    return _ENTITY.sub(lambda found: _ENTITIES[found[0]], _MARKUP.sub(r"\\\1", line))
