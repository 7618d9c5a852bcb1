"""An outside judge labels every answer that the run's figures rest on: reported beside its own, never selected by.

Validators are compared so in arXiv 2512.04210 (figures 3 and 4): each one's figures beside those of one judge that took
no part. The outside judge is `decide.control.judge`, which may be a server's model. It is asked once, at the run's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PolicyRef, PromptSet
from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder, shard_files
from actors.judges.judge import JudgmentTask
from pipelines.alignment.run import Run
from pipelines.config.recipe import Recipe
from pipelines.decision.ending import past_decisions
from pipelines.decision.record import read_decision
from pipelines.feedback.control.second_judge import OpenJudge, by_second_judge
from pipelines.judges.pool import judging
from pipelines.runs.outcomes import champion_before

# Asked of base and last champion.
_FINAL: tuple[PromptSet, ...] = ("test", "probe")


def outside_judge(recipe: Recipe) -> str | None:
    """The outside judge's name in judgments; None where the recipe has none."""
    return by_second_judge(recipe).judge.name(None) if recipe.judge.truth == "judge" else None


def label_outside(run: Run, champion: PolicyRef, opened: OpenJudge = judging) -> None:
    """Have the outside judge label every cycle's validation answers, and the final test's; nothing where there is none.

    A shard that has its labels is left as it is, so that no server is paid twice. Ray must be up.

    Args:
        run: whose answers are all there by now.
        champion: the last one.
        opened: brings the judge up.

    Raises:
        SalusError: the judge cannot be started, or its server refuses.
    """
    if (name := outside_judge(run.recipe)) is None:
        return
    second = by_second_judge(run.recipe)
    tasks = [
        task for prompts, policy in _answered(run, champion) for task in _tasks(run.folder, second, prompts, policy)
    ]
    waiting = [task for task in tasks if not Path(task.output).is_file()]
    if waiting:
        run.reporter.say(f"{name} labels {len(waiting)} shards of answers, as the judge from outside")
        with opened(second, None, run.reporter) as judge_shards:
            judge_shards(waiting)


def read_outside(folder: RunFolder, prompts: PromptSet, policy: PolicyRef, judge: str) -> pa.Table:
    """One policy's answers with the outside judge's labels, as rows of `JUDGMENT_SCHEMA`."""
    return read_folder(folder.evaluation_outside(prompts, policy.version, judge))


def _answered(run: Run, champion: PolicyRef) -> Iterator[tuple[PromptSet, PolicyRef]]:
    """Whose answers are measured, each once."""
    base = run.materials.policy
    found: dict[tuple[PromptSet, str], PolicyRef] = {}
    for cycle in range(1, len(past_decisions(run.folder, run.recipe.cycles)) + 1):
        incumbent = champion_before(run.folder, base, cycle)
        found["validation", incumbent.version] = incumbent
        for candidate in read_decision(run.folder.decision(cycle)).challengers:
            if candidate.metrics is not None:
                challenger = run.folder.challenger(cycle, candidate.name)
                found["validation", challenger.version] = challenger
    for prompts in _FINAL:
        if run.folder.prompts(prompts).is_dir():
            found |= {(prompts, policy.version): policy for policy in (base, champion)}
    yield from ((prompts, policy) for (prompts, _), policy in found.items())


def _tasks(folder: RunFolder, second: Recipe, prompts: PromptSet, policy: PolicyRef) -> list[JudgmentTask]:
    judge = second.judge.name(None)
    # Second judges have no weights, and so a name.
    assert judge is not None
    return [
        JudgmentTask(
            rollouts=str(shard),
            output=str(folder.evaluation_outside(prompts, policy.version, judge) / shard.name),
            system=second.shown_system_prompt,
        )
        for shard in shard_files(folder.evaluation_rollouts(prompts, policy.version))
    ]
