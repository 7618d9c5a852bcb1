"""A model folder in memory, ready to be trained: the weights and the tokenizer, or one sentence why not."""

from __future__ import annotations

import warnings
from pathlib import Path

import datasets
import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from actors.engine.model_folder import check_model_folder
from actors.errors import SalusError


def load_model(folder: Path, half: bool) -> PreTrainedModel:
    """The model in bfloat16 (`half`) or float32, whatever it is stored in.

    Raises:
        SalusError: the folder is no chat model in safetensors, or its weights cannot be read.
    """
    check_model_folder(folder)
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if half else torch.float32)
    except (OSError, ValueError, SafetensorError) as error:
        raise SalusError(f"The model folder {folder} cannot be loaded: {error}") from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with its chat template.

    Raises:
        SalusError: the folder is no chat model, or its tokenizer cannot be read.
    """
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


def silence() -> None:
    """No progress bars and no advice of the libraries: whoever trains reports progress itself."""
    # PEFT 0.21 asks transformers, and accelerate 1.15 asks torch, by an older name.
    for name in ("is_gradient_checkpointing", "broadcast_buffers"):
        warnings.filterwarnings("ignore", message=f"`{name}` is deprecated", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
