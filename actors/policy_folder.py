"""What a folder must hold so that its policy can be served, and can take the place of another one."""

from __future__ import annotations

import json
from pathlib import Path

from actors.errors import SalusError
from actors.records import PolicyRef


def check_policy_folder(policy: PolicyRef) -> None:
    """Refuse what a replica could not load: a missing folder, a bare adapter, no weights in safetensors."""
    folder = Path(policy.path)
    if not folder.is_dir():
        raise SalusError(f"Policy {policy.version} has no folder {folder}; give the path of its merged model.")
    if not (folder / "config.json").is_file():
        bare = (folder / "adapter_config.json").is_file()
        mend = "it is a bare LoRA adapter: merge it into its base model" if bare else "give a model folder"
        raise SalusError(f"Policy {policy.version} at {folder} has no config.json; {mend}.")
    if not any(folder.glob("*.safetensors")):
        raise SalusError(f"Policy {policy.version} at {folder} has no safetensors weights; save it with them.")


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


def check_same_shape(served: PolicyRef, policy: PolicyRef) -> None:
    """Refuse a policy whose weights cannot take the served ones' place, naming the first difference."""
    old, new = (json.loads((Path(p.path) / "config.json").read_text()) for p in (served, policy))
    for key in SHAPE_KEYS:
        if old.get(key) != new.get(key):
            raise SalusError(
                f"Policy {policy.version} cannot replace {served.version} in place: its {key} is "
                f"{new.get(key)} instead of {old.get(key)}; stop the endpoint and start it with this policy."
            )
