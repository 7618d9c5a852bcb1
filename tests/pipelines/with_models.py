"""A run whose models lie in folders, with the smallest files that pass for models."""

from __future__ import annotations

from pathlib import Path

from actors.contract.run_folder import RunFolder
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import Materials
from pipelines.runs.models import models_of_run
from pipelines.runs.open import open_run
from tests.quiet_reporter import QuietReporter
from tests.small_folder import small_folder


def make_model(folder: Path, weights: str) -> Path:
    small_folder(folder, weights)
    (folder / "notes.txt").write_text("no part of the model")
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
