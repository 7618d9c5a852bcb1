"""A run whose models lie in folders, with the smallest files that pass for models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from actors.contract.run_folder import RunFolder
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import Materials
from pipelines.runs.models import models_of_run
from pipelines.runs.open import open_run
from tests.quiet_reporter import QuietReporter

SHAPE = (
    '{"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}'
)
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_model(folder: Path, weights: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "config.json": SHAPE,
        "chat_template.jinja": TEMPLATE,
        "tokenizer_config.json": '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}',
        "notes.txt": "no part of the model",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    tokenizer = Tokenizer(WordLevel({"<unknown>": 0, "<end>": 1}, unk_token="<unknown>"))
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({"weights": np.frombuffer(weights.encode(), dtype=np.uint8)}, folder / "model.safetensors")
    return folder


class Team:
    """A run, and the models on the machine that works on it."""

    def __init__(self, root: Path) -> None:
        self.folder = RunFolder(root / "run")
        self.policy = make_model(root / "models" / "deployed", "weights")
        self.judge = make_model(root / "models" / "careful", "judge's weights")

    def recipe(self, *changes: str) -> Recipe:
        paths = (f"model.path={self.policy}", f"judge.path={self.judge}")
        sources = ("model.source=folder", "judge.source=folder", "judge.truth=null")
        return load_recipe("demo", [*sources, *paths, *changes])

    def take(self, *changes: str) -> Materials:
        """As a session of the run begins."""
        recipe = self.recipe(*changes)
        open_run(recipe, self.folder.root, fresh=False)
        return models_of_run(recipe, self.folder, QuietReporter())
