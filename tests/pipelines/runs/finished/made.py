"""Whole run folders on disk, finished and sealed, for the tests of what is known of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from actors.contract.publication import Publication
from actors.contract.records import ChallengerName
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_text
from pipelines.config.load import load_recipe, save_recipe
from pipelines.config.recipe import Recipe
from pipelines.judges.gate import JudgeTrust
from pipelines.runs.finished.manifest import seal_run
from pipelines.runs.open import ModelNote, note_model, open_run
from tests.pipelines.finished import BASE, BY_RULES, LOOSE, finish

SETTINGS = ("cycles=1", *BY_RULES, LOOSE)
LOST = "cycles/01/dpo/merged"
WON = "cycles/01/kto/merged"
WEIGHTS = b"weights of a model"
TRUST = JudgeTrust(trusted=False, note="Accepted all the same (--accept-unreliable-judge): [bold]unknown[/bold].")


def recipe(*changes: str) -> Recipe:
    return load_recipe("demo", [*SETTINGS, *changes])


class RunMaker:
    """Makes run folders, all from one that is measured and drawn once."""

    def __init__(self, template: Path) -> None:
        self._template = template
        settings = recipe()
        folder = open_run(settings, template, fresh=False)
        note_model(folder, "policy", ModelNote(path=BASE.path, sha256="b" * 64))
        write_text(TRUST.model_dump_json(), folder.judge_trust)
        publish(folder, "c1-kto")
        finish(settings, template, {})

    def __call__(self, root: Path, *changes: str, adapters: bool = True) -> RunFolder:
        """One cycle that KTO won and published; its files as a run leaves them, Ray Train's state included."""
        settings, folder = recipe(*changes), RunFolder(root)
        shutil.copytree(self._template, root)
        save_recipe(settings, folder.recipe)
        for algorithm in settings.train.challengers:
            self._train(folder, algorithm, adapters)
        put(folder.train_storage / "kto-1" / "state", bytes(1000))
        put(folder.rollouts(1) / "part-00000.parquet", b"rollouts")
        seal_run(settings, folder)
        return folder

    def _train(self, folder: RunFolder, algorithm: ChallengerName, adapters: bool) -> None:
        output, here = folder.training(1, algorithm), str(folder.root).encode()
        if adapters:
            put(output / "adapter" / "adapter_model.safetensors", algorithm.encode())
            put(output / "adapter" / "adapter_config.json", here)
        put(output / "merged" / "model.safetensors", WEIGHTS + algorithm.encode())
        put(output / "merged" / "config.json", b"{}")
        put(output / "report.json", here)
        put(output / "assignment.json", here)
        put(folder.cycle(1) / "rows" / algorithm / "00000.parquet", algorithm.encode())


def publish(folder: RunFolder, version: str) -> None:
    """The log of one publication."""
    publication = Publication(
        version=version,
        path="x",
        cycle=1,
        published_at="2026-11-22T00:00:00+00:00",
        swap_s=0.1,
        replicas=1,
        previous=None,
    )
    write_text(publication.model_dump_json() + "\n", folder.publications)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def lines(text: str) -> str:
    """What was printed, as one line: tables and sentences fold where the console ends."""
    return " ".join(text.split())
