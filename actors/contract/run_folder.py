"""The run folder: where every file of a run is. The only place that knows the layout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from actors.contract.records import (
    CHALLENGER_PATTERN,
    ROW_NAMES,
    ChallengerName,
    PolicyRef,
    PromptSet,
    RowKind,
    Split,
)

# The models a run does not make: the deployed policy, and a judge's own.
ModelRole = Literal["policy", "judge"]
# What `RunFolder.challenger` names a policy.
_CHALLENGER = re.compile(rf"c(?P<cycle>[1-9][0-9]{{0,8}})-(?P<name>{CHALLENGER_PATTERN})")
# A training's curve, beside its report.
CURVE = "curve.parquet"
# No challenger's name: what else a cycle's folder holds, and who else is among the policies that are compared.
RESERVED = ("rollouts", "judgments", "reviews", "feedback", "rows", "control", "champion", "base")
# What supervised fine-tuning makes before the first cycle, in the place of a challenger of cycle 0.
SFT: ChallengerName = "sft"
SFT_CYCLE = 0
# The challenger that a cycle makes by merging the others.
MERGE: ChallengerName = "merge"


class RunFolder:
    """Paths below one run's root; makes no files itself.

    ```
    recipe.yaml  run.json  models/{policy,judge}/  judge/{calibration,trust}.json
    prompts/SPLIT/  pairs/  capability/SPLIT/
    cycles/CC/{rollouts,judgments,red_team,reviews,feedback,rows/{kto,dpo},control,CHALLENGER}/
    cycles/CC/CHALLENGER/{adapter,merged}/  cycles/CC/CHALLENGER/{report.json,curve.parquet}
    cycles/00/{sft,rows/sft}/  cycles/00/figures.json  schemes/NAME/VERSION/{asked,drafts,rollouts,judgments}/
    evaluations/SPLIT/VERSION/{rollouts,judged_by/JUDGE,outside/JUDGE,harmfulness/JUDGE,capability}/
    cycles/CC/{decision,published,stages}.json  cycles/CC/decision.{html,md}  cycles/CC/control.parquet
    stages.jsonl  publications.jsonl  metrics.parquet  figure.png  summary.json  manifest.json  SHA256SUMS  gc.json
    audit.jsonl  tracking.json  logs/SESSION/worker-*.{out,err}
    ```

    Beside them `.lease/N.json` of `pipelines.runs.lease.lease` says whose the folder is. At an address
    (`pipelines.runs.store`) a run's `.index/N.json` names the same files and their
    objects; `ray_train` and `logs` are on this machine alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def recipe(self) -> Path:
        """The resolved configuration."""
        return self.root / "recipe.yaml"

    @property
    def run_record(self) -> Path:
        """Versions, models and host of the run."""
        return self.root / "run.json"

    @property
    def models(self) -> Path:
        """Copies of the models the run began with, where its recipe keeps them."""
        return self.root / "models"

    def kept_model(self, role: ModelRole) -> Path:
        """The copy of one of them."""
        return self.models / role

    @property
    def judge_calibration(self) -> Path:
        """The run's judge held against ground truth, where the run has one."""
        return self.root / "judge" / "calibration.json"

    @property
    def judge_trust(self) -> Path:
        """Why the judge selects policies: trusted, or accepted all the same."""
        return self.root / "judge" / "trust.json"

    @property
    def stage_log(self) -> Path:
        """One JSON line per stage outside finished cycles: start-up, final test, what an interrupted cycle spent."""
        return self.root / "stages.jsonl"

    @property
    def publications(self) -> Path:
        """One JSON line per publication."""
        return self.root / "publications.jsonl"

    @property
    def metrics(self) -> Path:
        """Every figure of the run, a row each."""
        return self.root / "metrics.parquet"

    @property
    def figure(self) -> Path:
        """SS and ERR by cycle, drawn."""
        return self.root / "figure.png"

    @property
    def summary(self) -> Path:
        """The whole run on one page."""
        return self.root / "summary.json"

    @property
    def sums(self) -> Path:
        """SHA-256 of every file of the finished run."""
        return self.root / "SHA256SUMS"

    @property
    def coordinator_state(self) -> Path:
        """What a restarted coordinator takes up; of the running session alone, so none of the run's results."""
        return self.root / ".coordinator.json"

    @property
    def session_logs(self) -> Path:
        """Where the workers of the running session print."""
        return self.root / ".session_logs.json"

    @property
    def worker_logs(self) -> Path:
        """What the workers of the last sessions printed, a folder for each; on this machine alone, not in the sums."""
        return self.root / "logs"

    @property
    def published(self) -> Path:
        """What the endpoint of the running session serves."""
        return self.root / ".published.json"

    @property
    def manifest(self) -> Path:
        """What every file of the finished run was made from."""
        return self.root / "manifest.json"

    @property
    def collected(self) -> Path:
        """What `salus runs gc` removed from the finished run, if it did; not part of the sums."""
        return self.root / "gc.json"

    @property
    def audit(self) -> Path:
        """Who published what; goes on after the run's end, so not part of the sums."""
        return self.root / "audit.jsonl"

    @property
    def tracking(self) -> Path:
        """What trackers were told of the run; goes on after the run's end, so not part of the sums."""
        return self.root / "tracking.json"

    @property
    def unsummed(self) -> tuple[Path, ...]:
        """The sums themselves, and what is written of a run after its end."""
        return (self.sums, self.collected, self.audit, self.tracking)

    @property
    def train_storage(self) -> Path:
        """Ray Train's own checkpoints and state."""
        return self.root / "ray_train"

    def prompts(self, split: PromptSet) -> Path:
        """Prompt shards of one split."""
        return self.root / "prompts" / split

    @property
    def pairs(self) -> Path:
        """Preference pairs from outside the run, where its recipe adds some."""
        return self.root / "pairs"

    def capability_items(self, split: Split) -> Path:
        """Questions with given answers, in a folder for each kind, where the recipe measures capability."""
        return self.root / "capability" / split

    def cycle(self, cycle: int) -> Path:
        """All that one cycle made."""
        return self.root / "cycles" / f"{cycle:02d}"

    def rollouts(self, cycle: int) -> Path:
        """The champion's answers to the cycle's train prompts."""
        return self.cycle(cycle) / "rollouts"

    def red_team(self, cycle: int) -> Path:
        """Attacks on a cycle's champion, where its recipe has a red team: what was tried, and `prompts/` that won."""
        return self.cycle(cycle) / "red_team"

    def judgments(self, cycle: int) -> Path:
        """The judge's labels of them."""
        return self.cycle(cycle) / "judgments"

    def reviews(self, cycle: int) -> Path:
        """People's labels that override the judge in a cycle's rows, where the recipe names a folder of them."""
        return self.cycle(cycle) / "reviews"

    def feedback(self, cycle: int) -> Path:
        """What people had said of the endpoint's answers when the cycle's rows were made, where its recipe asks."""
        return self.cycle(cycle) / "feedback"

    def live(self, cycle: int) -> Path:
        """The policy that the registry served when a cycle was decided, where people approve what is published."""
        return self.cycle(cycle) / "live.json"

    def rows(self, cycle: int, kind: RowKind) -> Path:
        """Preference rows of one kind; all challengers that learn from it share them."""
        return self.cycle(cycle) / "rows" / ROW_NAMES[kind]

    def training(self, cycle: int, name: ChallengerName) -> Path:
        """Adapter and report of one challenger, and its merged weights where it won."""
        return self.cycle(cycle) / name

    def curve(self, cycle: int, name: ChallengerName) -> Path:
        """What each optimizer step of one challenger's training logged; it grows while the challenger trains."""
        return self.training(cycle, name) / CURVE

    @property
    def fine_tuning_figures(self) -> Path:
        """What the fine-tuning before the cycles did on the test split."""
        return self.cycle(SFT_CYCLE) / "figures.json"

    def decision(self, cycle: int) -> Path:
        """What was decided, with every figure, interval and reason."""
        return self.cycle(cycle) / "decision.json"

    def published_figures(self, cycle: int) -> Path:
        """The figures of the policy that a cycle's decision let go live, on prompts that no decision uses."""
        return self.cycle(cycle) / "published.json"

    def decision_html(self, cycle: int) -> Path:
        """The decision's page, for a person to read."""
        return self.cycle(cycle) / "decision.html"

    def decision_text(self, cycle: int) -> Path:
        """The same page as Markdown."""
        return self.cycle(cycle) / "decision.md"

    def control(self, cycle: int) -> Path:
        """Trusted labels of a sample of the contenders' validation answers, where the run has a reference."""
        return self.cycle(cycle) / "control.parquet"

    def control_work(self, cycle: int) -> Path:
        """What the reference is asked about: the queue of people, or the answers and labels of a second judge."""
        return self.cycle(cycle) / "control"

    def stages(self, cycle: int) -> Path:
        """When each stage of a finished cycle ran, and when engines and trainers worked in it."""
        return self.cycle(cycle) / "stages.json"

    def timed_cycles(self) -> list[int]:
        """The cycles that have times, in order."""
        found = self.root.glob("cycles/*/stages.json")
        return sorted(int(path.parent.name) for path in found if path.parent.name.isdecimal())

    def evaluations(self, split: PromptSet) -> Path:
        """All that was measured on one set of prompts, a folder for each policy."""
        return self.root / "evaluations" / split

    def evaluation_rollouts(self, split: PromptSet, version: str) -> Path:
        """One policy's greedy answers."""
        return self.evaluations(split) / version / "rollouts"

    def evaluation_judgments(self, split: PromptSet, version: str, judge: str) -> Path:
        """Judgments of one policy's greedy answers by one judge."""
        return self.evaluations(split) / version / "judged_by" / judge

    def evaluation_outside(self, split: PromptSet, version: str, judge: str) -> Path:
        """The labels of the same answers by a judge that takes no part in the run."""
        return self.evaluations(split) / version / "outside" / judge

    def scheme(self, name: str, version: str) -> Path:
        """One policy's answers to the test prompts under an inference scheme of the recipe, and its figures."""
        return self.root / "schemes" / name / version

    def evaluation_capability(self, split: Split, version: str) -> Path:
        """What one policy can still do: its scores of given answers by kind, and `figures.json`."""
        return self.evaluations(split) / version / "capability"

    def evaluation_harmfulness(self, split: PromptSet, version: str, judge: str) -> Path:
        """Scores of how harmful one policy's greedy answers to harmful prompts are, by one judge."""
        return self.evaluations(split) / version / "harmfulness" / judge

    def judged(self) -> list[Path]:
        """Every folder of judgments there is, of cycles and of evaluations."""
        return self._folders("cycles/*/judgments", "cycles/*/red_team/judgments", "evaluations/*/*/judged_by/*")

    def outside(self) -> list[Path]:
        """Every folder of an outside judge's labels there is."""
        return self._folders("evaluations/*/*/outside/*")

    def rated(self) -> list[Path]:
        """Every folder of scores of harmfulness there is."""
        return self._folders("evaluations/*/*/harmfulness/*")

    def challenger(self, cycle: int, name: ChallengerName) -> PolicyRef:
        """The challenger one training job of this run makes."""
        return PolicyRef(version=f"c{cycle}-{name}", path=str(self.training(cycle, name) / "merged"))

    def fine_tuned(self) -> PolicyRef:
        """What supervised fine-tuning makes of the deployed policy, where the run begins with it: `c0-sft`."""
        return self.challenger(SFT_CYCLE, SFT)

    def find_challenger(self, version: str) -> tuple[int, PolicyRef] | None:
        """The cycle and the challenger of this name, or what was fine-tuned at first; None for any other policy's."""
        if version == self.fine_tuned().version:
            return SFT_CYCLE, self.fine_tuned()
        named = _CHALLENGER.fullmatch(version)
        if named is None:
            return None
        cycle = int(named["cycle"])
        return cycle, self.challenger(cycle, named["name"])

    def _folders(self, *patterns: str) -> list[Path]:
        return sorted(folder for pattern in patterns for folder in self.root.glob(pattern) if folder.is_dir())
