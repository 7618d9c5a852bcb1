"""The smallest files that pass for a chat model's: whole, and of no use to an engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

SHAPE: dict[str, int] = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 32,
}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def small_folder(folder: Path, weights: str = "weights", **config: int) -> Path:
    """Write them to `folder`; another text as `weights` gives other weights."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "config.json": json.dumps(SHAPE | config),
        "chat_template.jinja": TEMPLATE,
        "tokenizer_config.json": '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}',
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    tokenizer = Tokenizer(WordLevel({"<unknown>": 0, "<end>": 1}, unk_token="<unknown>"))
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({"weights": np.frombuffer(weights.encode(), dtype=np.uint8)}, folder / "model.safetensors")
    return folder
