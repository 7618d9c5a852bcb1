"""Tokenizers that speak the chat formats of common models, with all their control tokens, around a tiny vocabulary."""

from __future__ import annotations

from typing import Literal, get_args

from tokenizers import AddedToken, normalizers
from transformers import PreTrainedTokenizerFast

from tests.tiny_model import tiny_tokenizer

ChatFormat = Literal[
    "tiny", "chatml", "llama3", "mistral", "mistral13", "gemma", "gemma4", "deepseek", "cohere", "glm", "normalising"
]
CHAT_FORMATS: tuple[ChatFormat, ...] = get_args(ChatFormat)

CONTROL: dict[ChatFormat, tuple[str, ...]] = {
    "tiny": (),
    "chatml": ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    "llama3": (
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
        *(f"<|reserved_special_token_{i}|>" for i in range(240)),
    ),
    "mistral": ("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CALLS]", "  "),
    "mistral13": (
        "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]",
        "[CALL_ID]", "[ARGS]", "[TOOL_CONTENT]", "[THINK]", "[/THINK]", "[MODEL_SETTINGS]", "[IMG]", "[BEGIN_AUDIO]",
    ),
    "gemma": ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    "gemma4": (
        "<bos>", "<eos>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|think|>",
        *(f"<unused{i}>" for i in range(6_000)),
    ),
    "deepseek": (
        "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>",
        "<\uff5cAssistant\uff5c>",
    ),
    "cohere": (
        "<BOS_TOKEN>", "<EOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>",
        "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>",
    ),
    "glm": (
        "[gMASK]", "<sop>", "<eop>", "<|user|>", "<|assistant|>", "<|system|>", "<|observation|>", "<think>",
        "</think>", "<arg_key>", "</arg_value>",
    ),
    "normalising": ("<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]"),
}  # fmt: skip
_MESSAGE: dict[ChatFormat, tuple[str, str]] = {
    "chatml": ("<|im_start|>user\n{}<|im_end|>\n", "<|im_start|>assistant\n"),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": ("<s>[INST] {} [/INST]", ""),
    "mistral13": ("<s>[INST]{}[/INST]", ""),
    "gemma4": ("<bos><|turn>user\n{}<turn|>\n", "<|turn>model\n"),
    "cohere": (
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    "glm": ("[gMASK]<sop><|user|>\n{}", "<|assistant|>\n"),
    "gemma": ("<bos><start_of_turn>user\n{}<end_of_turn>\n", "<start_of_turn>model\n"),
    "deepseek": ("<\uff5cbegin\u2581of\u2581sentence\uff5c><\uff5cUser\uff5c>{}", "<\uff5cAssistant\uff5c>"),
    "normalising": ("<|im_start|>user\n{}<|im_end|>\n", "<|im_start|>assistant\n"),
}


def chat_tokenizer(of: ChatFormat) -> PreTrainedTokenizerFast:
    """A tokenizer of that format; `normalising` folds its input (NFKC) before it looks for control tokens."""
    tokenizer = tiny_tokenizer()
    if of == "tiny":
        return tokenizer
    normalising = of == "normalising"
    if normalising:
        tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens([AddedToken(t, normalized=normalising, special=not normalising) for t in CONTROL[of]])
    user, assistant = _MESSAGE[of]
    before, after = user.split("{}")
    parts = (f"{{{{ {text!r} }}}}" for text in (before, after, assistant))
    begin, end, prompt = parts
    tokenizer.chat_template = (
        "{% for message in messages %}" + begin + "{{ message['content'] }}" + end + "{% endfor %}"
        "{% if add_generation_prompt %}" + prompt + "{% endif %}"
    )
    return tokenizer


def control_ids(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    """Ids of every added token but the labels and runs of spaces, which are ordinary text."""
    ordinary = {"Accept", "Caution", "Refuse"}
    return {i for t, i in tokenizer.get_added_vocab().items() if t.strip() and t not in ordinary}
