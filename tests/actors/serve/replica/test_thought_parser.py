"""vLLM's server cuts thoughts as the generator does, streamed or not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engine.thoughts import ThoughtMarks, spoken
from actors.serve.replica.options import THOUGHT_MARKS
from actors.serve.replica.thought_parser import ThoughtParser
from tests.tiny_model import CHAT_TEMPLATE, tiny_tokenizer

OPENS = CHAT_TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}"
TEXTS = [
    "<think>Hm.</think>\n\nTake one.",
    "Take one.",
    "<think>Hm",
    "Hm.</think> No.",
    "<thin ice> is thin",
    "</think> x",
]


@pytest.fixture(autouse=True, scope="module")
def marks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(THOUGHT_MARKS, ThoughtMarks().model_dump_json())
        yield


def parser(template: str) -> ThoughtParser:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return ThoughtParser(tokenizer)


def streamed(of: ThoughtParser, text: str, cuts: list[int]) -> tuple[str, str]:
    """The thought and the answer of a text that comes in pieces."""
    thought = answer = before = ""
    for end in [*sorted({cut % len(text) for cut in cuts} - {0}), len(text)]:
        said = of.extract_reasoning_streaming(before, text[:end], text[len(before) : end], [], [], [])
        if said is not None:
            thought, answer = thought + (said.reasoning or ""), answer + (said.content or "")
        before = text[:end]
    return thought, answer


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, OPENS])
@given(text=st.sampled_from(TEXTS), cuts=st.lists(st.integers(0, 40)))
def test_a_stream_gives_the_generators_answer_however_it_is_cut(template: str, text: str, cuts: list[int]) -> None:
    prompt = "<think>\n" if template == OPENS else "<|assistant|>"
    expected = spoken(text, prompt, ThoughtMarks())
    thought, answer = streamed(parser(template), text, cuts)
    assert answer.strip() == expected.answer
    assert thought.strip() == (expected.thought or "").strip()


def test_a_whole_answer_is_the_generators() -> None:
    assert parser(CHAT_TEMPLATE).extract_reasoning(TEXTS[0], None) == ("<think>Hm.</think>\n\n", "Take one.")
    assert parser(CHAT_TEMPLATE).extract_reasoning(" As it is. ", None) == (None, " As it is. ")
    assert parser(OPENS).extract_reasoning("Hm", None) == ("Hm", "")


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("<|user|>Hi<|assistant|>", False),
        ("<think>", False),
        ("<think>\n\n</think>\n\n", True),
        ("</think><think>", False),
    ],
)
def test_a_form_binds_only_what_follows_a_thought(text: str, ended: bool) -> None:
    of = parser(CHAT_TEMPLATE)
    ids = tiny_tokenizer().encode(text, add_special_tokens=False)
    assert of.is_reasoning_end(ids) == ended
    assert of.is_reasoning_end_streaming(ids, ids[-1:]) == ended
