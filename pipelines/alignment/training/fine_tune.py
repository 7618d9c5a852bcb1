"""The deployed policy fine-tuned on demonstrations, before the first cycle, while nothing else is up."""

from __future__ import annotations

from collections.abc import Callable

from actors.contract.records import TrainReport
from actors.contract.run_folder import RunFolder
from actors.training.alone.sft import finished_sft, run_sft
from pipelines.cluster.progress import Reporter
from pipelines.cluster.times import trainer_work
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import Materials
from pipelines.runs.stage_log import StageLog

STAGE = "fine-tune"


def fine_tune(
    recipe: Recipe, folder: RunFolder, materials: Materials, reporter: Reporter, check: Callable[[], None]
) -> TrainReport | None:
    """Fine-tune the policy, once, and time it; None where the recipe does not ask for it. Ray must be up.

    `check` raises SalusError once the run folder is another process's; it is asked while the training goes on.

    Raises:
        SalusError: it cannot be trained on its demonstrations.
    """
    if recipe.sft is None:
        return None
    if (done := finished_sft(recipe.sft, folder, materials.policy, recipe.seed)) is not None:
        return done

    def on_step(step: int, total: int) -> None:
        check()
        bar.at(step, total)

    bar = reporter.bar("fine-tuning the deployed policy", None, "steps")
    try:
        with StageLog(folder).stage(STAGE) as stage:
            report = run_sft(recipe.sft, folder, materials.policy, recipe.seed, on_step)
            stage.worked(trainer_work([report]))
    finally:
        bar.close()
    check()
    reporter.say(
        f"fine-tuned on {report.rows:,} demonstrations, {report.steps:,} steps: {report.challenger.version} is the"
        " first champion"
    )
    return report
