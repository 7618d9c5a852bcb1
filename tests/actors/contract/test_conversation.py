"""Conversations in tables, and as a judge reads them."""

from __future__ import annotations

from actors.contract.conversation import Turn, context_of, transcript, turns_of, whole_conversation

SYSTEM, FIRST, REPLY, LAST = (
    Turn(role="system", content="Be brief."),
    Turn(role="user", content="I take insulin."),
    Turn(role="assistant", content="Noted."),
    Turn(role="user", content="How do I store it?"),
)
TURNS = (SYSTEM, FIRST, REPLY, LAST)


def test_a_conversation_comes_back_from_a_table_whole() -> None:
    context = context_of(TURNS)
    assert context is not None
    assert whole_conversation(context, LAST.content) == TURNS
    assert turns_of(context) == TURNS[:-1]
    assert context_of(TURNS[-1:]) is None
    assert whole_conversation(None, LAST.content) == (LAST,)
    # A table's null comes back as an empty string where columns are read as texts.
    assert whole_conversation("", LAST.content) == (LAST,)


def test_a_judge_reads_every_turn_and_a_question_alone_as_it_is() -> None:
    assert transcript(None, "How?") == "How?"
    text = transcript(context_of(TURNS), LAST.content)
    assert [text.index(turn.content) for turn in TURNS] == sorted(text.index(turn.content) for turn in TURNS)
    assert text.startswith("[system]\nBe brief.\n\n[user]\nI take insulin.")


def test_the_deployed_system_prompt_is_read_unless_the_conversation_has_its_own() -> None:
    assert transcript(None, "How?", "Ours") == "[system]\nOurs\n\n[user]\nHow?"
    assert "Ours" not in transcript(context_of(TURNS), LAST.content, "Ours")
