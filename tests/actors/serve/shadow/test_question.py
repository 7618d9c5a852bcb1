"""How a challenger is asked what was asked live: its template, its defaults, its room."""

from __future__ import annotations

from actors.contract.conversation import Turn
from actors.engine.port import Sampling
from actors.engine.sampling_defaults import SamplingDefaults
from actors.serve.shadow.question import EngineQuestion, questions
from actors.serve.shadow.records import LiveAnswer
from tests.actors.serve.shadow.given import live
from tests.tiny_model import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def ask(given: LiveAnswer, defaults: SamplingDefaults | None = None, room: int = 128) -> EngineQuestion | None:
    (question,) = questions([given], TOKENIZER, defaults or SamplingDefaults(), room)
    return question


def test_every_turn_stands_under_the_models_own_template() -> None:
    turns = tuple(Turn(role=role, content=text) for role, text in (("system", "Be brief."), ("user", "Insulin?")))
    question = ask(live(turns=turns))
    assert question is not None
    assert TOKENIZER.decode(question.tokens) == "<|bos|><|system|>Be brief.<|end|><|user|>Insulin?<|end|><|assistant|>"


def test_what_the_request_says_counts_before_the_models_defaults() -> None:
    defaults = SamplingDefaults(temperature=0.6, top_p=0.9, max_new_tokens=5)
    said = ask(live(temperature=0.0, top_p=0.5, max_tokens=7), defaults)
    left = ask(live(temperature=None, max_tokens=None), defaults)
    assert said is not None and said.sampling == Sampling(k=1, temperature=0.0, top_p=0.5, max_tokens=7)
    assert left is not None and left.sampling == Sampling(k=1, temperature=0.6, top_p=0.9, max_tokens=5)


def test_an_answer_has_the_room_that_the_prompt_leaves() -> None:
    question = ask(live(max_tokens=None))
    assert question is not None and question.sampling.max_tokens == 128 - len(question.tokens)
    shorter = ask(live(max_tokens=100), room=len(question.tokens) + 3)
    assert shorter is not None and shorter.sampling.max_tokens == 3
    # As long as the live answer could have been, where its request named no length.
    bounded = ask(live(max_tokens=None, limit=9), SamplingDefaults(max_new_tokens=20))
    assert bounded is not None and bounded.sampling.max_tokens == 9


def test_what_does_not_fit_the_challenger_is_not_asked() -> None:
    assert ask(live(prompt="insulin " * 200)) is None
    strict = tiny_tokenizer()
    strict.chat_template = "{{ raise_exception('no such turns') }}"
    assert list(questions([live()], strict, SamplingDefaults(), 128)) == [None]
