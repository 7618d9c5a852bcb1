"""A decision's page as HTML and as Markdown: two templates over one content, in which every expression is escaped."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from actors.contract.untrusted import visible
from pipelines.report.decision_page.content import DecisionPage
from pipelines.report.markdown import markdown_environment

_PACKAGE = "pipelines.report.decision_page"
# Characters of one turn or answer that are shown; longer ones are cut.
LONGEST = 4000


def as_markdown(page: DecisionPage) -> str:
    """The page as Markdown, each turn and answer on one line."""
    return markdown_environment(_PACKAGE).get_template("decision.md.jinja").render(page=page)


def as_html(page: DecisionPage) -> str:
    """The page as one HTML file that needs nothing else; its policy lets no script run and nothing be loaded."""
    style = _environment().loader.get_source(_environment(), "decision.css")[0]  # type: ignore[union-attr]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _environment().get_template("decision.html.jinja").render(page=page, style=Markup(style), digest=digest)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def _shown(value: object) -> Markup:
    """Text of others with what could hide in it made visible; our own style passes."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    return escape(visible(text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."))
