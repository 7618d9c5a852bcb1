"""What a judge is taught to reply, under the chat templates of common models."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from actors.contract.records import LABELS
from actors.errors import SalusError
from actors.training.alone.judge_rows import reply_tokens
from tests.tiny_model import tiny_tokenizer

LLAMA3 = (
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CHATML_THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}<think>\n\n</think>\n\n"
    "{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} </s>{% endif %}{% endfor %}"
)
CONTROL = (
    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "</s>", "[INST]", "[/INST]",
)  # fmt: skip
NO_END = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def speaking(template: str, *control: str) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (tiny_tokenizer().chat_template, "<|end|>"),
        (LLAMA3, "<|eot_id|>"),
        (CHATML_THINKING, "<|im_end|>"),
        (MISTRAL, "</s>"),
        # Nothing behind the answer is a control token: the tokenizer's own end of sequence.
        (NO_END, "<|end|>"),
    ],
)
def test_a_reply_is_the_label_as_it_is_scored_and_the_templates_end(template: str, end: str) -> None:
    tokenizer = speaking(
        template, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in ("</s>", "[INST]", "[/INST]")])
    replies = reply_tokens(tokenizer, LABELS)
    for label in LABELS:
        word = tokenizer.encode(label, add_special_tokens=False)
        assert replies[label] == [*word, tokenizer.convert_tokens_to_ids(end)]


def test_a_template_that_hides_the_answer_cannot_teach_it() -> None:
    with pytest.raises(SalusError, match="leaves out the assistant's answer"):
        reply_tokens(speaking("{{ messages[0]['content'] }}"), LABELS)


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = speaking(NO_END)
    tokenizer.eos_token = None
    with pytest.raises(SalusError, match="no token that ends an answer; set its eos_token"):
        reply_tokens(tokenizer, LABELS)
