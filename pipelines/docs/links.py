"""Links and code blocks of Markdown files: what they name, and where they lead once pages move."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>`{3,}|~{3,})(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=indent)(?P=mark)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_SPAN = re.compile(r"``.+?``|`[^`\n]+`", re.S)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\((?P<target>[^)\s]+)\)")
_OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:|//")


class CodeBlock(NamedTuple):
    """A fenced block: the language it names, its code, and the line of the page on which that begins."""

    language: str
    code: str
    line: int


def code_blocks(text: str) -> Iterator[CodeBlock]:
    """The fenced blocks of a page, in order."""
    for found in _FENCE.finditer(text):
        yield CodeBlock(found["language"].strip(), found["code"], text.count("\n", 0, found.start("code")) + 1)


def without_code(text: str) -> str:
    """A page whose blocks and spans of code are blank, line by line."""
    blanked = _FENCE.sub(_blank, text)
    return _SPAN.sub(_blank, blanked)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def link_targets(text: str) -> list[str]:
    """Where a page's links and pictures lead, as it is written; addresses outside are left out."""
    return [found["target"] for found in _LINK.finditer(without_code(text)) if not _OUTSIDE.match(found["target"])]


def moved(text: str, source: PurePosixPath, places: Mapping[PurePosixPath, PurePosixPath]) -> str:
    """A page of the repository as a page of the site.

    Args:
        text: the page.
        source: its file, relative to the repository.
        places: by such a file, where it is on the site. A link to any other file becomes the name of that file.
    """
    here = places[source].parent

    def link(found: re.Match[str]) -> str:
        target = found["target"]
        if _OUTSIDE.match(target) or target.startswith("#"):
            return found[0]
        path, _, anchor = target.partition("#")
        named = PurePosixPath(os.path.normpath(source.parent / path))
        page = places.get(named) or places.get(named / "README.md")
        if page is None:
            return found["text"] if found["image"] else f"{found['text']} (`{named}`)"
        relative = os.path.relpath(page, here)
        return f"{found['image']}[{found['text']}]({relative}{'#' if anchor else ''}{anchor})"

    code = [found.span() for found in _FENCE.finditer(text)]
    code += [found.span() for found in _SPAN.finditer(_FENCE.sub(_blank, text))]

    def unless_in_code(found: re.Match[str]) -> str:
        return found[0] if any(begin <= found.start() < end for begin, end in code) else link(found)

    return _LINK.sub(unless_in_code, text)


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown's `toc` and GitHub both name them."""
    plain = _FENCE.sub(_blank, text)
    found = re.findall(r"^#{1,6} +(.+?)#*$", plain, re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in found}
