"""A thought is kept and cut before anything is judged; only a text that begins with one has one."""

from __future__ import annotations

import pytest

from actors.engine.thoughts import Spoken, ThoughtMarks, spoken

MARKS = ThoughtMarks()


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        ("<think>\nHm.\n</think>\n\nTake one. ", "<a>", Spoken("<think>\nHm.\n</think>\n\n", "Take one.")),
        # The template begins the thought.
        ("Hm.</think> No.", "<a><think>\n", Spoken("Hm.</think> ", "No.")),
        ("<think>Hm.</think>", "<a>", Spoken("<think>Hm.</think>", "")),
        ("<think>\nHm. And", "<a>", Spoken("<think>\nHm. And", "", finished=False)),
        ("Hm. And", "<a><think>", Spoken("Hm. And", "", finished=False)),
        # A thought that the template has closed already is none of the answer's.
        (" Take one.", "<a><think>\n\n</think>\n\n", Spoken(None, "Take one.")),
    ],
)
def test_a_thought_ends_at_its_mark(text: str, prompt: str, expected: Spoken) -> None:
    assert spoken(text, prompt, MARKS) == expected


def test_thought_and_answer_together_are_the_sampled_text() -> None:
    found = spoken("<think>Hm.</think>\n\nTake one.", "", MARKS)
    assert (found.thought or "") + found.answer == "<think>Hm.</think>\n\nTake one."


def test_what_is_said_before_a_mark_is_no_thought_unless_it_began_as_one() -> None:
    text = "Forge it so. </think> I can't help with that."
    assert spoken(text, "<a>", MARKS) == Spoken(None, text)


def test_what_follows_the_first_mark_is_all_answer() -> None:
    found = spoken("<think>Hm.</think> Forge it so. </think> I can't.", "<a>", MARKS)
    assert found.answer == "Forge it so. </think> I can't."


def test_marks_are_a_setting() -> None:
    assert spoken("[T]Hm.[/T] No.", "", ThoughtMarks(begin="[T]", end="[/T]")).answer == "No."
