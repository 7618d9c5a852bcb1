"""What a model folder must hold, and what lets one take another one's place."""

from __future__ import annotations

import json
from pathlib import Path

from actors.errors import SalusError
from actors.records import PolicyRef


def check_model_folder(folder: Path) -> None:
    """A model folder holds a config, safetensors weights and a tokenizer with a chat template.

    Raises:
        SalusError: says what is missing and how to mend it.
    """
    if not folder.is_dir():
        raise SalusError(f"Model folder {folder} does not exist; give the path of a Hugging Face model folder.")
    if not (folder / "config.json").is_file():
        bare = (folder / "adapter_config.json").is_file()
        mend = "it is a bare LoRA adapter: merge it into its base model" if bare else "save it with save_pretrained()"
        raise SalusError(f"Model folder {folder} has no config.json; {mend}.")
    if not any(folder.glob("*.safetensors")):
        raise SalusError(
            f"Model folder {folder} has no .safetensors weights; save it with save_pretrained() (pickled weights"
            " are not loaded)."
        )
    if not _has_chat_template(folder):
        raise SalusError(
            f"The tokenizer in {folder} has no chat template; add chat_template.jinja, as the model was trained with."
        )


def _has_chat_template(folder: Path) -> bool:
    settings = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (
        settings.is_file() and "chat_template" in settings.read_text(encoding="utf-8")
    )


# What of a model's config.json fixes the shape of its weights.
SHAPE_KEYS = (
    "architectures",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "tie_word_embeddings",
)


def shape_difference(served: PolicyRef, policy: PolicyRef) -> str | None:
    """The first thing by which a policy's weights cannot take the served ones' place; None where they can."""
    old, new = (json.loads((Path(p.path) / "config.json").read_text()) for p in (served, policy))
    for key in SHAPE_KEYS:
        if old.get(key) != new.get(key):
            return f"its {key} is {new.get(key)} instead of {old.get(key)}"
    return None


def check_same_shape(served: PolicyRef, policy: PolicyRef) -> None:
    """Refuse a policy whose weights cannot take the served ones' place, naming the first difference."""
    difference = shape_difference(served, policy)
    if difference is not None:
        raise SalusError(
            f"Policy {policy.version} cannot replace {served.version} in place: {difference}; serve with"
            " publish.router=true, which starts a second application for it, or stop the endpoint and start it with"
            " this policy."
        )
