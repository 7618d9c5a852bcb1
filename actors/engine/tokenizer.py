"""The one place where a tokenizer is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.engine.model_folder import check_model_folder
from actors.errors import SalusError


def load_tokenizer(folder: Path) -> Any:
    """The model's tokenizer, with its chat template.

    Raises:
        SalusError: the folder is no chat model, or its tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    check_model_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise SalusError(f"The tokenizer of {folder} cannot be loaded: {error}") from error
    if not tokenizer.chat_template:
        raise SalusError(
            f"The model {folder} has no chat template; use an instruction-tuned model, or add a chat_template.jinja."
        )
    return tokenizer
