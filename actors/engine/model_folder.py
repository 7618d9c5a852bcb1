"""What a model folder must hold, and what lets one take another one's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.contract.records import PolicyRef
from actors.errors import SalusError


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


# Where a config.json says how many tokens its model was made for; vLLM takes the smallest, too.
_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# Ways to stretch positions after which a config.json names the stretched length.
_STRETCHED = ("su", "longrope", "llama3")


def longest_sequence(folder: Path) -> int | None:
    """How many tokens a model holds, prompt and answer together, as vLLM reads its config.json; None: unsaid there.

    It is read here without vLLM or torch, which take seconds to import.

    Raises:
        SalusError: config.json cannot be read.
    """
    try:
        config = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SalusError(f"{folder / 'config.json'} cannot be read ({error}); save the model again.") from error
    # Multimodal configs keep the language model's under this key.
    text: dict[str, Any] = config.get("text_config") or config
    named = [text[key] for key in _LENGTH_KEYS if text.get(key)]
    if not named:
        return None
    length, factor = text.get("model_max_length") or min(named), 1.0
    # Gemma 3 names the stretched length whatever its way.
    for rope in () if "gemma3" in (text.get("model_type") or "") else _ropes(text):
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind not in _STRETCHED:
            factor = rope.get("factor") or factor
        if kind == "yarn":
            length = rope.get("original_max_position_embeddings") or length
    return int(length * factor)


def _ropes(text: dict[str, Any]) -> list[dict[str, Any]]:
    """How positions are stretched: once for all layers, or by their kinds."""
    found = text.get("rope_parameters") or text.get("rope_scaling") or {}
    by_kind = [each for each in found.values() if isinstance(each, dict)]
    return by_kind or [found]


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
    """The first thing by which a policy cannot take the served one's place in its engine; None where it can."""
    old, new = (json.loads((Path(p.path) / "config.json").read_text(encoding="utf-8")) for p in (served, policy))
    for key in SHAPE_KEYS:
        if old.get(key) != new.get(key):
            return f"its {key} is {new.get(key)} instead of {old.get(key)}"
    held, holds = (longest_sequence(Path(p.path)) for p in (served, policy))
    if held is not None and holds is not None and holds < held:
        return f"it holds {holds} tokens instead of {held}"
    return None


def check_same_shape(served: PolicyRef, policy: PolicyRef) -> None:
    """Refuse a policy whose weights cannot take the served ones' place, naming the first difference."""
    difference = shape_difference(served, policy)
    if difference is not None:
        raise SalusError(
            f"Policy {policy.version} cannot replace {served.version} in place: {difference}. Serve with"
            " publish.router=true, which starts a second application for it, or stop the endpoint and start it with"
            " this policy."
        )
