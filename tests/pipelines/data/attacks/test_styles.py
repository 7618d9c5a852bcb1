"""The attack styles as properties: same in, same out; nothing lost; nothing in a prompt is ever interpreted."""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contract.records import METHODS
from actors.errors import SalusError
from pipelines.data.attacks.registry import STYLES, style_named
from pipelines.data.attacks.style import around

VERBATIM = [name for name, style in STYLES.items() if style.verbatim]
REWRITTEN = [name for name, style in STYLES.items() if not style.verbatim]
prompts = st.text(min_size=1, max_size=60)


def body(wrapped: str) -> str:
    """What follows the first blank line."""
    return wrapped.split("\n\n", 1)[1]


def joined_parts(wrapped: str) -> str:
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(wrapped, wrapped.index('"'))
    second, _ = decoder.raw_decode(wrapped, wrapped.index('"', end))
    return f"{first} {second}"


# How a reader gets the request back, for every style that rewrites it; compared by words.
RECOVER: dict[str, Callable[[str], str]] = {
    "base64": lambda wrapped: base64.b64decode(body(wrapped)).decode(),
    "rot13": lambda wrapped: codecs.decode(body(wrapped), "rot13"),
    "word_split": lambda wrapped: body(wrapped).replace("-", ""),
    "payload_parts": joined_parts,
    "reversed_words": lambda wrapped: " ".join(reversed(body(wrapped).split())),
    "lookalikes": lambda wrapped: body(wrapped).translate(str.maketrans("43105", "aeios")),
    "json_form": lambda wrapped: str(json.loads(body(wrapped) + '"}')["question"]),
    "table": lambda wrapped: wrapped.rsplit("\n| ", 1)[1].removesuffix(" |"),
}
# Letters a style cannot tell from its own marks, and so are left out of what must come back.
LOST = {"word_split": r"-", "lookalikes": r"[0-9]", "table": r"[|/]"}


def test_there_are_at_least_eighteen_and_all_methods_have_some() -> None:
    assert len(STYLES) >= 18
    assert {style.method for style in STYLES.values()} == set(METHODS)
    assert set(RECOVER) == set(REWRITTEN)


@pytest.mark.parametrize("name", STYLES)
def test_each_is_described_and_named_like_an_identifier(name: str) -> None:
    style = style_named(name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", style.name)
    assert style.description and "\n" not in style.description


@given(prompts)
def test_most_styles_hold_the_prompt_letter_by_letter_and_add_to_it(prompt: str) -> None:
    for name in VERBATIM:
        wrapped = STYLES[name].wrap(prompt)
        assert prompt in wrapped
        assert len(wrapped) > len(prompt) + 20


@given(prompts)
def test_the_others_let_its_words_be_recovered(prompt: str) -> None:
    for name in REWRITTEN:
        plain = re.sub(LOST[name], "", prompt) if name in LOST else prompt
        assert RECOVER[name](STYLES[name].wrap(plain)).split() == plain.split(), name


@given(prompts)
def test_wrapping_is_deterministic_and_no_two_styles_agree(prompt: str) -> None:
    once = [style.wrap(prompt) for style in STYLES.values()]
    assert once == [style.wrap(prompt) for style in STYLES.values()]
    assert len(set(once)) == len(STYLES)


@pytest.mark.parametrize("prompt", ["{0} {prompt} %s ${x} {{", "\\1 \\g<0>", "[red]bold[/red]", '"quoted" | cell'])
@pytest.mark.parametrize("name", STYLES)
def test_a_prompt_is_never_read_as_a_template(name: str, prompt: str) -> None:
    plain = re.sub(LOST[name], "", prompt) if name in LOST else prompt
    wrapped = STYLES[name].wrap(plain)
    assert plain in wrapped if STYLES[name].verbatim else RECOVER[name](wrapped).split() == plain.split()


def test_a_table_stays_one_row() -> None:
    row = STYLES["table"].wrap("two\nlines | three").splitlines()[-1]
    assert row.count("|") == 2
    assert "two lines / three" in row


def test_an_unknown_style_names_the_nearest() -> None:
    with pytest.raises(SalusError, match=r"no attack style 'emergancy'; did you mean 'emergency'"):
        style_named("emergancy")


def test_around_joins() -> None:
    assert around("a ", " c")("{b}") == "a {b} c"
