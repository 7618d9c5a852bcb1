"""A real tiny LoRA adapter with drawn weights, for tests that need a policy as training leaves one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def make_tiny_adapter(base: Path, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write an adapter on the model in `base` whose update is not zero; `changes` are PEFT's own settings."""
    settings: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **(settings | changes))
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()
    return folder
