"""A run whose models lie in folders, with the smallest files that pass for models."""

from __future__ import annotations

from pathlib import Path

from actors.run_folder import RunFolder
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.materials import Materials
from pipelines.open_run import open_run
from pipelines.progress import QuietReporter
from pipelines.run_models import models_of_run


def make_model(folder: Path, weights: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"config.json": "{}", "model.safetensors": weights, "chat_template.jinja": "{{ messages }}"}
    for name, text in (files | {"notes.txt": "no part of the model"}).items():
        (folder / name).write_text(text)
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
