"""Champion and challengers of a cycle on the validation split, in the run's warm engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.contract.records import PolicyRef
from actors.files.shards import read_folder
from pipelines.alignment.capability import measure_capability
from pipelines.alignment.measurements.probe import ask_probe
from pipelines.alignment.run import Run
from pipelines.alignment.streamed import check_labelled, streamed, tell_cut_off
from pipelines.cluster.stream import ShardTask, StreamReport
from pipelines.cluster.times import Work
from pipelines.feedback.control.labels import label_control
from pipelines.feedback.control.people import Patience
from pipelines.judges.evidence import has_control_labels
from pipelines.registry.register import record_live
from pipelines.runs.outcomes import live_policy


class Evaluation:
    """Greedy, judged answers of each policy as soon as its weights are there, so that engines need not wait.

    Life: `Evaluation(run, cycle, champion)` -> `measure`* -> `check`
    """

    def __init__(self, run: Run, cycle: int, champion: PolicyRef) -> None:
        self._run = run
        self._cycle = cycle
        self._champion = champion
        self._measured: set[str] = set()
        self._reports: list[StreamReport] = []

    def measure(self, challengers: Sequence[PolicyRef], meanwhile: Callable[[], None] = lambda: None) -> list[Work]:
        """Greedy, judged answers of the champion, these challengers and what is live, where there are none yet.

        Args:
            meanwhile: called at least once a second.
        """
        record_live(self._run.recipe, self._run.folder, self._cycle)
        policies = [policy for policy in self.policies(challengers) if policy.version not in self._measured]
        if not policies:
            return []
        report = streamed(self._run, self._name, self._tasks(policies), meanwhile)
        self._measured.update(policy.version for policy in policies)
        self._reports.append(report)
        return report.work

    def policies(self, challengers: Sequence[PolicyRef]) -> list[PolicyRef]:
        """Whose answers the decision is shown: the champion's and these challengers', and those of what is live.

        A judge that stays the same has labelled the latter in an earlier cycle. Under SELF the new champion has not.
        """
        found = [self._champion, *challengers]
        # The deployed model was champion before, unless the run began with fine-tuning it.
        if self._run.recipe.judge.row.champion_judges or self._cycle == 1:
            live = live_policy(self._run.folder, self._run.materials.policy, self._cycle)
            found += [live] if live.version != self._champion.version else []
        return found

    @property
    def work(self) -> list[Work]:
        """When each engine worked so far."""
        return [work for report in self._reports for work in report.work]

    def check(self, challengers: Sequence[PolicyRef]) -> tuple[str, ...]:
        """The versions of challengers whose answers lack so many labels that they cannot win.

        Raises:
            SalusError: another policy's answers lack more than the recipe allows.
        """
        tasks, names = self._tasks(self.policies(challengers)), {policy.version for policy in challengers}
        return check_labelled(self._run, self._name, tasks, names)

    def _tasks(self, policies: Sequence[PolicyRef]) -> list[ShardTask]:
        return [t for p in policies for t in self._run.evaluation_tasks("validation", p, self._champion)]

    @property
    def _name(self) -> str:
        return f"cycle {self._cycle} validation"


def evaluate(run: Run, cycle: int, champion: PolicyRef, begun: Evaluation | None = None) -> list[Work]:
    """Champion and challengers on the validation split, as far as that has not `begun`, and their capability.

    The winner is asked the probe's prompts too, where the recipe has one. Returns when each engine worked.

    Raises:
        SalusError: more answers of the champion, or of what is live, than the recipe allows got no usable label.
    """
    evaluation = begun or Evaluation(run, cycle, champion)
    challengers = trained(run, cycle)
    work = evaluation.measure(challengers)
    broken = evaluation.check(challengers)
    for policy in (champion, *challengers):
        answers = run.folder.evaluation_rollouts("validation", policy.version)
        tell_cut_off(run, f"cycle {cycle} validation, {policy.version}", answers)
    scored = measure_capability(run, "validation", evaluation.policies(challengers), champion, broken)
    control(run, cycle, champion, challengers)
    return [*work, *scored, *ask_probe(run, cycle, champion, challengers)]


def control(run: Run, cycle: int, champion: PolicyRef, challengers: Sequence[PolicyRef]) -> None:
    """Trusted labels of a sample of each contender's answers, for the decision; none where there is no reference.

    Raises:
        SalusError: as `label_control`.
    """
    if not has_control_labels(run.recipe):
        return
    judge = run.judge_name(champion)
    named = {run.folder.challenger(cycle, name).version: name for name in run.recipe.contestants}
    contenders = {"champion": champion} | {named[policy.version]: policy for policy in challengers}
    judged = {
        name: read_folder(run.folder.evaluation_judgments("validation", policy.version, judge))
        for name, policy in contenders.items()
    }
    patience = Patience(run.recipe.decide.control.wait_minutes, run.check_lease)
    label_control(run.recipe, run.folder, cycle, judged, run.reporter, patience)


def trained(run: Run, cycle: int) -> list[PolicyRef]:
    """The cycle's challengers whose training came to its end."""
    return [
        run.folder.challenger(cycle, name)
        for name in run.recipe.contestants
        if (run.folder.training(cycle, name) / "report.json").is_file()
    ]
