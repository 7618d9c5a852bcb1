"""Plain English where a person reads: no banned words, and at most 25 words a sentence."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.root import ROOT
from tests.test_imports import PACKAGES, name, sources

MOST_WORDS = 25
BANNED = re.compile(
    r"\b(whoever|whomever|somebody|nobody|anybody|what(ever)? (has |had )?(came|comes|come) of (it|them|this|that)"
    r"|stands?|stood|lies?|lay|lain)\b",
    re.IGNORECASE,
)
# Phrases in which a banned word means something else than "is".
ALLOWED = re.compile(r"\b(st(and|ands|ood) (for|out)|stand-ins?|lay out|lies (to|about))\b", re.IGNORECASE)
# The changelog's entries up to this one are older than these rules.
LAST_OLD_ENTRY = "Four lists kept by hand are gone.\n"

_KEYWORDS = {"help", "short_help", "epilog", "description"}
_SECTIONS = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Attributes|Example|Examples|Note):$")
_ENTRY = re.compile(r"^(?:[-*+] |\d+[.)] |\*{0,2}\w+: )")
_ENDS = re.compile(r"(?<=[.!?])[)\"'`*\]]*\s+|(?<=:)\s*$")
_SPAN = re.compile(r"``[^`]+``|`[^`]+`")
_LINK = re.compile(r"\[([^\]]*)\]\([^)\s]*\)")
_NAMES = re.compile(r"(?:[^\s,]+, ){2,}(?:(?:and|or) )?[^\s,]+")
_DIRECTIVE = re.compile(r"^(noqa|type:|fmt:|pragma|ruff:|mypy:|!)")


class Passage(NamedTuple):
    """One paragraph, list item or message: text on one line, and where it begins."""

    file: str
    line: int
    text: str


def paragraphs(file: str, line: int, text: str) -> Iterator[Passage]:
    """The paragraphs and list items of a text; tables, headings, rules, and code are left out."""
    held: list[str] = []
    begin = line
    fenced = False
    for number, raw in enumerate(text.splitlines(), line):
        words = raw.strip()
        fence = words.startswith("```")
        fenced ^= fence
        apart = fence or fenced or not words or words[0] in "|#" or words.startswith((">>>", "<!--", "!["))
        if apart or _SECTIONS.match(words) or _ENTRY.match(words):
            if held:
                yield Passage(file, begin, " ".join(held))
            held = []
        if apart or _SECTIONS.match(words):
            continue
        if not held:
            begin = number
        held.append(words)
    if held:
        yield Passage(file, begin, " ".join(held))


def literal(node: ast.expr) -> str | None:
    """The text of a string expression, with a word in the place of each value; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = literal(node.left), literal(node.right)
        return "".join(side or "VALUE" for side in sides) if any(sides) else None
    return None


def called(node: ast.Call) -> str:
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def in_source(file: str, source: str) -> Iterator[Passage]:
    """Docstrings, messages of errors, helps, and comments of a source file."""
    tree = ast.parse(source)
    raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from paragraphs(file, node.lineno, node.value.value)
        if isinstance(node, ast.Call):
            shown = [word.value for word in node.keywords if word.arg in _KEYWORDS]
            if id(node) in raised or called(node).endswith(("Error", "Refused")):
                shown += [*node.args, *(word.value for word in node.keywords)]
            for value in shown:
                yield from (Passage(file, value.lineno, text) for text in [literal(value)] if text)
    yield from in_comments(file, source)


def in_comments(file: str, source: str) -> Iterator[Passage]:
    """Comments; those on lines of their own that follow each other are one text."""
    block: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        text = token.string.lstrip("#").strip()
        if _DIRECTIVE.match(text):
            continue
        alone = not token.line[:column].strip()
        if not (alone and line == last + 1):
            yield from paragraphs(file, begin, "\n".join(block))
            block, begin = [], line
        block.append(text)
        last = line if alone else 0
    yield from paragraphs(file, begin, "\n".join(block))


def pages() -> list[Path]:
    hidden = (ROOT / ".github").glob("*.md")
    return sorted([ROOT / "README.md", *hidden, *(f for p in (*PACKAGES, "tests") for f in (ROOT / p).rglob("*.md"))])


def new_in_changelog() -> Iterator[Passage]:
    """What was added to the changelog after its last old entry."""
    old, last, new = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition(LAST_OLD_ENTRY)
    return paragraphs("CHANGELOG.md", (old + last).count("\n") + 1, new if last else old)


@cache
def passages() -> tuple[Passage, ...]:
    written = [p for f in sources(*PACKAGES) for p in in_source(name(f), f.read_text(encoding="utf-8"))]
    read = [p for f in pages() for p in paragraphs(name(f), 1, f.read_text(encoding="utf-8"))]
    return (*written, *read, *new_in_changelog())


def table_rows() -> Iterator[Passage]:
    """The rows of the pages' tables: their sentences may be long, and their words count all the same."""
    for file in pages():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("|"):
                yield Passage(name(file), number, line)


def sentences(text: str) -> Iterator[str]:
    """Text split after full stops, and after the colon before a list of three or more."""
    # A code span is one word, whatever is in it.
    for sentence in _ENDS.split(_SPAN.sub("CODE", _LINK.sub(r"\1", text))):
        head, colon, listed = sentence.partition(": ")
        if colon and listed.count(", ") >= 2:
            yield from (head, listed)
        else:
            yield sentence


def length(sentence: str) -> int:
    """How many words a sentence has; a plain list of names is one, and signs are none."""
    return sum(any(sign.isalnum() for sign in word) for word in _NAMES.sub("NAMES", sentence).split())


def package(file: str) -> str:
    """`actors/serve` of `actors/serve/gateway/keys.py`; the file itself at the top."""
    parts = file.split("/")
    return "/".join(parts[:2]) if parts[0] in PACKAGES else parts[0]


def banned(text: str) -> list[str]:
    return [found[0] for found in BANNED.finditer(ALLOWED.sub("", _SPAN.sub("CODE", text)))]


@cache
def long_sentences() -> dict[str, list[str]]:
    """By package, every sentence above the limit with its file and line."""
    found: dict[str, list[str]] = defaultdict(list)
    for passage in passages():
        for sentence in sentences(passage.text):
            if length(sentence) > MOST_WORDS:
                found[package(passage.file)].append(
                    f"{passage.file}:{passage.line}: {length(sentence)} words: {sentence}"
                )
    return found


@cache
def banned_words() -> dict[str, list[str]]:
    """By package, every passage with a banned word, with its file and line."""
    found: dict[str, list[str]] = defaultdict(list)
    for passage in (*passages(), *table_rows()):
        if words := banned(passage.text):
            found[package(passage.file)].append(f"{passage.file}:{passage.line}: {', '.join(words)}: {passage.text}")
    return found


def folders() -> list[str]:
    return sorted({package(passage.file) for passage in passages()})


@pytest.mark.parametrize("folder", folders())
def test_no_sentence_is_longer_than_25_words(folder: str) -> None:
    found = long_sentences().get(folder, [])
    assert not found, f"{folder} has sentences of more than {MOST_WORDS} words; split them:\n" + "\n".join(found)


@pytest.mark.parametrize("folder", folders())
def test_no_banned_words(folder: str) -> None:
    found = banned_words().get(folder, [])
    assert not found, f"{folder}: say who or what it is, or 'is':\n" + "\n".join(found)


def test_a_full_stop_ends_a_sentence_and_a_semicolon_does_not() -> None:
    assert list(sentences("One is here. Two is there; it is long.")) == ["One is here.", "Two is there; it is long."]
    assert [length(s) for s in sentences("Any of these: red wine, white wine, black tea.")] == [3, 6]


def test_code_links_and_lists_of_names_are_short() -> None:
    assert length(next(sentences("Set `a = b + c`, see [this page](https://x.y/z)."))) == 5
    assert length("It takes red, green, blue, and grey.") == 3


def test_every_kind_of_prose_is_read() -> None:
    lines = [
        '"""A docstring."""',
        "raise SalusError(",
        '    f"A fault in {folder}: "',
        '    "do this."',
        ")",
        "app.command(epilog='An epilog.')",
        "x: int = Field(1, description='A field.')  # At the side.",
        "# A comment",
        "# of two lines.",
        "#",
        "# And another.",
    ]
    written = [*in_source("x.py", "\n".join(lines))]
    assert sorted(passage.text for passage in written) == [
        "A comment of two lines.",
        "A docstring.",
        "A fault in VALUE: do this.",
        "A field.",
        "An epilog.",
        "And another.",
        "At the side.",
    ]
    assert {passage.text: passage.line for passage in written}["And another."] == 11


@pytest.mark.parametrize("text", ["It lies there.", "Whoever asks is told.", "See what came of it.", "It stands alone"])
def test_banned_words_are_found(text: str) -> None:
    assert banned(text)


@pytest.mark.parametrize("text", ["KTO stands for a name.", "A stand-in is built.", "`nobody` is a user."])
def test_other_senses_are_allowed(text: str) -> None:
    assert not banned(text)
