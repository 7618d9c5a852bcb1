"""A byte-level BPE tokenizer with a chat template, trained from the texts it is handed.

Byte level means that any text encodes; the template ends every answer with the end token vLLM stops on.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from actors.errors import SalusError

PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
SYSTEM, USER, ASSISTANT = "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BOS, EOS, SYSTEM, USER, ASSISTANT)
# The 256 bytes and the special tokens: below this no byte-level vocabulary exists.
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)

# Written so that a rendered prompt + completion begins with the rendered prompt: TRL relies on it.
CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + '<|eos|>' }}"
    "{% elif message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most `vocabulary` tokens, special tokens and bytes included.

    Raises SalusError where `vocabulary` cannot hold the bytes and special tokens.
    """
    if vocabulary < SMALLEST_VOCABULARY:
        raise SalusError(
            f"A vocabulary of {vocabulary} tokens cannot hold 256 bytes and "
            f"{len(SPECIAL_TOKENS)} special tokens; set vocabulary to at least {SMALLEST_VOCABULARY}."
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def chat_prompt(request: str) -> str:
    """The rendered prompt of one user message, up to where the answer begins."""
    return f"{BOS}{USER}{request}{ASSISTANT}"


def chat_answer(answer: str) -> str:
    """The rendered answer that follows `chat_prompt`, end token included."""
    return f"{answer}{EOS}"
