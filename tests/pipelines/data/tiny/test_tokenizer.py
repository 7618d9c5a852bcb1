"""The tiny tokenizer: any text survives, and its chat template fits TRL and vLLM."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from actors.errors import SalusError
from pipelines.data.tiny.tokenizer import SPECIAL_TOKENS, chat_answer, chat_prompt, train_tokenizer

TEXTS = ["See a doctor soon.", "See a nurse soon.", "Take it with food."] * 20
TOKENIZER = train_tokenizer(TEXTS, 400)
USER = [{"role": "user", "content": "See a doctor?"}]
ANSWER = [{"role": "assistant", "content": "Sure."}]


@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    for token in SPECIAL_TOKENS:
        text = text.replace(token, "")
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_prompt_with_completion_begins_with_the_prompt_and_ends_with_eos() -> None:
    rendered = TOKENIZER.apply_chat_template(USER, add_generation_prompt=True, tokenize=False)
    whole = TOKENIZER.apply_chat_template(USER + ANSWER, tokenize=False)
    prompt = TOKENIZER(str(rendered), add_special_tokens=False)["input_ids"]
    both = TOKENIZER(str(whole), add_special_tokens=False)["input_ids"]
    assert both[: len(prompt)] == prompt
    assert both[-1] == TOKENIZER.eos_token_id


def test_rendered_text_equals_the_helpers() -> None:
    rendered = TOKENIZER.apply_chat_template(USER, add_generation_prompt=True, tokenize=False)
    assert rendered == chat_prompt("See a doctor?")
    assert TOKENIZER.apply_chat_template(USER + ANSWER, tokenize=False) == rendered + chat_answer("Sure.")


def test_a_system_message_stands_before_the_user() -> None:
    system = [{"role": "system", "content": "Be kind."}]
    rendered = TOKENIZER.apply_chat_template(system + USER, add_generation_prompt=True, tokenize=False)
    assert rendered == "<|bos|><|system|>Be kind.<|user|>See a doctor?<|assistant|>"


def test_saved_and_loaded_it_is_the_same(tmp_path: object) -> None:
    TOKENIZER.save_pretrained(str(tmp_path))
    loaded = AutoTokenizer.from_pretrained(str(tmp_path))
    assert isinstance(loaded, PreTrainedTokenizerFast)
    assert loaded.chat_template == TOKENIZER.chat_template
    assert loaded("See a nurse")["input_ids"] == TOKENIZER("See a nurse")["input_ids"]


def test_a_vocabulary_below_the_bytes_is_refused() -> None:
    with pytest.raises(SalusError, match="at least"):
        train_tokenizer(TEXTS, 100)
