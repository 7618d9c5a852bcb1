"""Capability of one model folder, in one engine of this process: no run, no judge, no Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.engine.port import Engine
from actors.errors import SalusError
from actors.generator import Generator
from pipelines.alignment.capability import figures_of, likelihood_tasks, write_questions
from pipelines.cluster.progress import Reporter
from pipelines.config.capability import CapabilityConfig
from pipelines.config.recipe import Recipe
from pipelines.measures.capability.figures import Capability


def check_asked(recipe: Recipe) -> CapabilityConfig:
    """The recipe's section; raises `SalusError` where it asks for no given answers."""
    config = recipe.capability
    if config is None or (config.source == "files" and config.choices is None and config.references is None):
        raise SalusError(
            f"Recipe {recipe.name} names no questions to measure capability by; add --set capability.choices=FILE or"
            " --set capability.references=FILE, or give --tasks of the evaluation harness."
        )
    return config


def measure_local(
    recipe: Recipe, policy: PolicyRef, start_engine: Callable[[], Engine], reporter: Reporter
) -> Capability:
    """The figures a run's final report has, but for benign helpfulness, which takes a judge.

    Args:
        start_engine: called once the questions are known to be good.

    Raises:
        SalusError: the recipe asks for no given answers, or they are missing, bad or too long for the engine.
    """
    config = check_asked(recipe)
    # Scores are kept nowhere: another model under the same name would find them done.
    with tempfile.TemporaryDirectory(prefix="salus-capability-") as place:
        folder = RunFolder(Path(place))
        write_questions(recipe, config, folder, ("test",))
        tasks = likelihood_tasks(config, folder, "test", policy)
        generator = Generator(start_engine())
        bar = reporter.bar("scoring given answers", len(tasks), "shards")
        try:
            for task in tasks:
                generator.log_likelihoods(task)
                bar.advance(1)
        finally:
            bar.close()
        seed = derive_seed(recipe.seed, "capability figures")
        return figures_of(config, folder, "test", policy, None, seed)
