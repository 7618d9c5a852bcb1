"""The challenger of a cycle that is merged of those that were trained in it, in a process of its own."""

from __future__ import annotations

import ray

from actors.contract.records import ChallengerName, PolicyRef, TrainReport
from actors.contract.run_folder import RunFolder
from actors.coordinator.state import TOO_FEW
from actors.errors import SalusError, own_error
from actors.training.merging.config import MergeConfig
from actors.training.merging.merged import merge_challengers
from pipelines.alignment.run import Run
from pipelines.cluster.times import Work, trainer_work


def merge(run: Run, cycle: int, champion: PolicyRef) -> list[Work]:
    """Merge the cycle's trained challengers, where the recipe asks for it; returns when that was done.

    Where fewer than two were trained there is nothing to merge, and the decision says so.

    Raises:
        SalusError: they cannot be merged.
    """
    config = run.recipe.merge
    if config is None:
        return []
    bar = run.reporter.bar(f"cycle {cycle}: merging", None, "")
    names = tuple(run.recipe.train.challengers)
    task = _merged.remote(config, run.folder, cycle, champion, names, run.recipe.seed)
    try:
        while not ray.wait([task], timeout=1)[0]:
            run.check_lease()
        report = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        # As a sentence, without the task's traceback.
        if (own := own_error(error)) is not None:
            raise SalusError(own.sentence) from error
        raise
    finally:
        bar.close()
    if report is None:
        run.reporter.say(f"cycle {cycle}: {TOO_FEW}")
        return []
    return trainer_work([report])


# No CPU of its own: the trainers' have nothing to do by then. Torch is not imported where the run is driven.
@ray.remote(num_cpus=0, max_retries=0)
def _merged(
    config: MergeConfig,
    folder: RunFolder,
    cycle: int,
    champion: PolicyRef,
    names: tuple[ChallengerName, ...],
    seed: int,
) -> TrainReport | None:
    return merge_challengers(config, folder, cycle, champion, names, seed)
