"""Smoke prompts: what fails a reply, what passes, and how the asking ends."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from actors.serve.config import SmokeConfig, SmokePrompt
from actors.serve.replica.smoke import SmokeReply, ask_all, check_replies, repetition

SOUND = (
    "Take one tablet of ibuprofen with food, at most three times a day, and drink enough water. If the pain goes on "
    "for more than three days, ask your doctor. Do not take it together with other tablets against pain."
)


def one(text: str = "How do I store insulin?", **more: object) -> SmokeConfig:
    return SmokeConfig(prompts=(SmokePrompt.model_validate({"text": text, **more}),))


def fault(config: SmokeConfig, reply: str) -> str | None:
    result = check_replies(config, [SmokeReply(text=reply)])
    assert result.enough(config) == (result.faults == ())
    return result.faults[0] if result.faults else None


@pytest.mark.parametrize(
    ("expect", "reply", "why"),
    [
        (None, "", "the reply is empty"),
        (None, " \n", "the reply is empty"),
        (None, "I will do that. " * 12, "the reply loops"),
        (None, "no " * 30, "the reply loops"),
        (None, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "the reply loops"),
        ("refuse", SOUND, "an answer where a refusal is expected"),
        ("answer", "I'm sorry, but I can't help with that.", "a refusal where an answer is expected"),
    ],
)
def test_a_reply_that_fails(expect: str | None, reply: str, why: str) -> None:
    assert why in (fault(one(expect=expect), reply) or "")


@pytest.mark.parametrize(
    ("expect", "reply"),
    [
        (None, "Yes."),
        ("answer", SOUND),
        ("refuse", "I can't help with that."),
        # Help under protest is neither an answer nor a refusal.
        ("answer", "I'm happy to help, but I must point out that the word may be problematic. To open it, pull."),
        ("refuse", "I'm happy to help, but I must point out that the word may be problematic. To open it, pull."),
    ],
)
def test_a_reply_that_passes(expect: str | None, reply: str) -> None:
    assert fault(one(expect=expect), reply) is None


def test_phrases_are_literal_and_of_any_case() -> None:
    config = one(must_contain=["in the fridge", "2.8"], must_not_contain=["freezer"])
    assert fault(config, "In the Fridge, at 2.8 degrees.") is None
    assert "lacks '2.8'" in (fault(config, "In the fridge, at 2x8 degrees.") or "")
    assert "holds 'freezer'" in (fault(config, "In the fridge at 2.8, not the FREEZER.") or "")


def test_a_sound_answer_repeats_little_and_a_loop_much() -> None:
    assert repetition(SOUND) < 0.1
    assert repetition("short") == 0
    assert repetition(SOUND + " " + SOUND) == pytest.approx(0.5, abs=0.05)
    assert repetition("the same again " * 20) > 0.9


def test_a_share_of_the_prompts_may_be_enough() -> None:
    prompts = tuple(SmokePrompt(text=f"Question {n}?") for n in range(4))
    replies = [SmokeReply(text="Yes."), SmokeReply(text="Yes."), SmokeReply(text="No."), SmokeReply(text="")]
    config = SmokeConfig(prompts=prompts, least_share=0.75)
    result = check_replies(config, replies)
    assert result.enough(config) and not result.enough(SmokeConfig(prompts=prompts, least_share=0.8))
    assert result.sentence() == "3 of 4 smoke prompts passed. Prompt 4 ('Question 3?'): the reply is empty."


def test_what_a_policy_says_cannot_write_on_a_terminal() -> None:
    said = fault(one(expect="refuse"), "\x1b[31mSure\u202e,\nhere is how. " + "Do it with care. Then wait. " * 3)
    assert said is not None and said.isprintable()
    assert "Sure, here is how." in said and " ... " in said


def test_every_prompt_is_asked_at_once_and_one_that_fails_is_that_ones_fault() -> None:
    waiting: list[str] = []

    async def ask(text: str, max_tokens: int) -> str:
        assert max_tokens == 64
        waiting.append(text)
        while len(waiting) < 3:
            await asyncio.sleep(0)
        if text == "b":
            raise RuntimeError("the engine\nis dead")
        return f"Answer to {text}."

    config = SmokeConfig(prompts=tuple(SmokePrompt(text=text) for text in "abc"))
    replies = asyncio.run(ask_all(config, ask))
    assert replies == (
        SmokeReply(text="Answer to a."),
        SmokeReply(error="the engine is dead"),
        SmokeReply(text="Answer to c."),
    )
    assert "no reply (the engine is dead)" in check_replies(config, replies).faults[0]


def test_a_reply_that_is_late_is_told_to_stop() -> None:
    stopped: list[str] = []

    async def ask(text: str, max_tokens: int) -> str:
        if text == "quick":
            return "Yes."
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append(text)
        return "Too late."

    config = SmokeConfig(prompts=(SmokePrompt(text="quick"), SmokePrompt(text="slow")), timeout_s=0.05)
    assert asyncio.run(ask_all(config, ask)) == (SmokeReply(text="Yes."), SmokeReply(error="none within 0.05 s"))
    assert stopped == ["slow"]


@pytest.mark.parametrize("bad", [{"prompts": []}, {"prompts": [{"text": ""}]}, {"prompts": [{"text": "a", "max": 1}]}])
def test_settings_that_say_nothing_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SmokeConfig.model_validate(bad)
