"""The probe's safe prompts, asked of a cycle's winner and of what is live, before the winner is published."""

from __future__ import annotations

from collections.abc import Sequence

from actors.contract.records import PolicyRef
from actors.coordinator.coordinator import DECISION_COLUMNS
from actors.files.shards import read_folder
from pipelines.alignment.run import Run, decision_rule
from pipelines.alignment.streamed import run_stream, tell_cut_off
from pipelines.cluster.times import Work
from pipelines.runs.outcomes import live_policy


def ask_probe(run: Run, cycle: int, champion: PolicyRef, challengers: Sequence[PolicyRef]) -> list[Work]:
    """Greedy, judged answers of the winner and the published policy to the probe's prompts, where there are none yet.

    The winner is found by the decision's own rule, so everything else that it rests on must be there. A champion that
    stays is not asked. Returns when each engine worked.

    Raises:
        SalusError: more answers than the recipe allows got no usable label, or the decision lacks something.
    """
    policies = asked_of_probe(run, cycle, champion, challengers)
    if not policies:
        return []
    tasks = [task for policy in policies for task in run.evaluation_tasks("probe", policy, champion)]
    name = f"cycle {cycle} {run.recipe.data.probe}"
    report = run_stream(run, name, tasks)
    for policy in policies:
        tell_cut_off(run, f"{name}, {policy.version}", run.folder.evaluation_rollouts("probe", policy.version))
    return report.work


def asked_of_probe(
    run: Run, cycle: int, champion: PolicyRef, challengers: Sequence[PolicyRef]
) -> tuple[PolicyRef, ...]:
    """The winner and the published policy; empty where the champion stays, or the recipe has no probe."""
    if run.recipe.data.probe is None or (winner := _winner(run, cycle, champion, challengers)) is None:
        return ()
    return (winner, live_policy(run.folder, run.materials.policy, cycle))


def _winner(run: Run, cycle: int, champion: PolicyRef, challengers: Sequence[PolicyRef]) -> PolicyRef | None:
    """The challenger that the cycle's decision will choose; None: none of them."""
    judge = run.judge_name(champion)
    own, *others = (
        read_folder(run.folder.evaluation_judgments("validation", policy.version, judge), DECISION_COLUMNS)
        for policy in (champion, *challengers)
    )
    named = {run.folder.challenger(cycle, name).version: name for name in run.recipe.contestants}
    judged = {named[policy.version]: table for policy, table in zip(challengers, others, strict=True)}
    # Challengers whose training failed cannot win, so that how they failed does not matter here.
    decision = decision_rule(run.recipe, run.folder, run.materials).before_probe(cycle, own, judged, {})
    return None if decision.chosen == "champion" else run.folder.challenger(cycle, decision.chosen)
