"""The end of a run: the test split once, for the base model and the last champion, and the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from actors.contract.publication import read_publications
from actors.contract.records import LABELS, Label, PolicyRef, PromptSet
from actors.contract.run_folder import SFT, SFT_CYCLE, RunFolder
from actors.contract.run_names import read_report
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import read_folder, strings, write_table, write_text
from pipelines.alignment.capability import measure_capability
from pipelines.alignment.measurements.harmfulness import measure_harmfulness, read_harmfulness
from pipelines.alignment.measurements.outside import outside_judge, read_outside
from pipelines.alignment.measurements.schemes import read_schemes
from pipelines.alignment.run import Run
from pipelines.alignment.streamed import run_stream
from pipelines.cluster.plan import make_plan
from pipelines.cluster.times import NodeUse, StageTime, Work, engine_work, find_times
from pipelines.cluster.turns.cost import GpuUse, busy_gpu_s, measured, uses_gpus
from pipelines.decision.capability import read_figures
from pipelines.decision.ending import past_decisions
from pipelines.decision.record import Decision, read_decision
from pipelines.feedback.control.second_judge import told_second_judge
from pipelines.judges.evidence import read_trust
from pipelines.judges.refusal_rules import xstest_agreement
from pipelines.measures.agreement import Agreement, agreement
from pipelines.measures.baselines import ALIKE, BASELINES, baseline_judgments
from pipelines.measures.groups import groups_of
from pipelines.measures.metrics import Metrics, measure, without_spread
from pipelines.report.decision_page.from_run import write_pages
from pipelines.report.figure import draw_cycles
from pipelines.report.judges.judging import judge_disagreement, judge_usage
from pipelines.runs.metrics_rows import MetricsKey, cares_rows, group_rows, harmfulness_rows, metrics_rows
from pipelines.runs.models import at_hand
from pipelines.runs.open import Cost
from pipelines.runs.outcomes import champion_before
from pipelines.runs.prompts.sets import probe_folder, truth_rule
from pipelines.runs.stage_log import read_stage_log
from pipelines.runs.summary import (
    GROUND_TRUTH,
    CycleSummary,
    FineTuned,
    HarmfulnessTest,
    HeldOutTest,
    JudgedBy,
    Measured,
    Summary,
    TestFigures,
    TestSummary,
    WhatIsKept,
    cycle_summary,
    find_published,
)


def final_rollouts(run: Run, champion: PolicyRef) -> list[Work]:
    """Greedy, judged answers of base and champion, and of what was fine-tuned, to the test prompts (and the probe's).

    Their capability is measured on the test split too, and how harmful these answers are, where the recipe asks for it.
    Returns when each engine worked.
    """
    sets: list[PromptSet] = ["test"]
    if run.recipe.data.probe is not None:
        sets.append("probe")
    policies = {policy.version: policy for policy in tested_policies(run, champion).values()}
    tasks = [
        task
        for policy in policies.values()
        for prompts in sets
        for task in run.evaluation_tasks(prompts, policy, champion)
    ]
    streamed = run_stream(run, "final test", tasks)
    scored = measure_capability(run, "test", list(policies.values()), champion)
    rated = measure_harmfulness(run, list(policies.values()), champion)
    return [*streamed.work, *scored, *engine_work("judge", rated)]


def tested_policies(run: Run, champion: PolicyRef) -> dict[str, PolicyRef]:
    """Who answers the test split: the deployed model, what was fine-tuned of it first, and the last champion."""
    tuned = {SFT: run.folder.fine_tuned()} if run.recipe.sft is not None else {}
    return {"base": run.materials.policy, **tuned, "champion": champion}


def fine_tuning_report(run: Run, champion: PolicyRef) -> FineTuned:
    """What the fine-tuning before the cycles did on the test split, also written to the run's folder.

    Raises:
        SalusError: the policy, or its answers or the deployed model's, are not there.
    """
    reader = _Reader(run)
    by: JudgedBy = "truth" if reader.has_truth else "judge"
    tuned = run.folder.fine_tuned()

    def figures(policy: PolicyRef) -> TestFigures:
        return TestFigures.of(reader.measured(reader.judgments("test", policy, champion, by)))

    made = read_report(run.folder, SFT_CYCLE, SFT)
    if made is None:
        raise SalusError(f"{run.folder.root} has no fine-tuned policy; run salus sft.")
    found = FineTuned(
        policy=tuned.version,
        demonstrations=made.rows,
        steps=made.steps,
        train_s=round(made.train_s, 1),
        losses=(made.metrics.get("loss_first"), made.metrics.get("loss_last")),
        judged_by=by,
        before=figures(run.materials.policy),
        after=figures(tuned),
        harmfulness=reader.harmfulness(champion, tuned),
        capability=reader.capability(tuned),
    )
    write_text(found.model_dump_json(indent=2), run.folder.fine_tuning_figures)
    return found


def report(run: Run, champion: PolicyRef, cost: Cost, notes: tuple[str, ...]) -> Summary:
    """Measure everything, write `metrics.parquet`, `figure.png`, `summary.json` and pages, and return the summary."""
    reader = _Reader(run)
    cycles = [reader.cycle(cycle) for cycle in range(1, reader.cycles + 1)]
    rows = [row for cycle in range(1, reader.cycles + 1) for row in reader.cycle_rows(cycle)]
    trust = read_trust(run.folder)
    by_judge, by_truth = reader.test(champion, "judge"), None
    rows += reader.test_rows(champion, "judge")
    if reader.has_truth:
        by_truth = reader.test(champion, "truth")
        rows += reader.test_rows(champion, "truth")
    harm = reader.harmfulness(champion)
    rows += reader.harmfulness_rows(champion, harm)
    metrics = pa.concat_tables(rows)
    write_table(metrics, run.folder.metrics)
    draw_cycles(metrics, run.folder.figure, reference=reader.reference)
    stages = _stages(run.folder, reader.cycles)
    summary = Summary(
        recipe=run.recipe.name,
        seed=run.recipe.seed,
        wall_s=round(cost.wall_s, 1),
        peak_memory_gib=round(cost.peak_memory_gib, 2),
        cycles=tuple(cycles),
        test=by_truth or by_judge,
        test_judged_by="truth" if by_truth else "judge",
        reference=reader.reference,
        test_by_judge=by_judge if by_truth else None,
        judge_agreement=reader.judge_agreement(champion),
        judge_usage=judge_usage(run.folder),
        judge_disagreement=judge_disagreement(run.folder, run.recipe),
        stage_s=_stage_seconds(stages),
        node_use=NodeUse.of(cost.nodes, busy_gpu_s(run.recipe, stages)),
        gpu_use=gpu_use(run, cost, stages),
        held_out=reader.held_out(champion),
        measured=reader.probe(champion),
        capability=reader.capability(champion),
        harmfulness=harm,
        schemes=read_schemes(run, champion),
        published=find_published(run.folder, reader.cycles),
        sft=fine_tuning_report(run, champion) if run.recipe.sft is not None else None,
        notes=(*((trust.note,) if trust is not None else ()), *notes),
    )
    write_text(summary.model_dump_json(indent=2), run.folder.summary)
    # Once more, as the final test is known now.
    write_pages(run.folder, run.recipe)
    return summary


class _Reader:
    """Reads judged answers of a run and measures them, by its judge or by ground truth."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = run.folder
        self._rule, self._outside = truth_rule(run.recipe), outside_judge(run.recipe)
        self._seed = derive_seed(run.recipe.seed, "report")
        # As many as were run: patience may have ended the run before the recipe's last.
        self.cycles = len(past_decisions(run.folder, run.recipe.cycles))

    @property
    def has_truth(self) -> bool:
        return self._rule is not None or self._outside is not None

    @property
    def reference(self) -> str | None:
        """Who gave the labels that are called truth: None where it is ground truth, or no one."""
        if self._outside is not None:
            return told_second_judge(self._run.recipe)
        return "refusal rules" if self._run.recipe.judge.truth == "refusal_rules" else None

    def judgments(self, split: PromptSet, policy: PolicyRef, judge_champion: PolicyRef, by: JudgedBy) -> pa.Table:
        judge = self._run.judge_name(judge_champion)
        if by == "truth" and self._outside is not None:
            return read_outside(self._folder, split, policy, self._outside)
        table = read_folder(self._folder.evaluation_judgments(split, policy.version, judge))
        if by == "judge" or self._rule is None:
            return table
        labels: list[Label] = [self._rule(answer) for answer in strings(table, "answer")]
        return table.set_column(table.column_names.index("label"), "label", pa.array(labels, pa.string()))

    def measured(self, table: pa.Table) -> Metrics:
        return measure(table, self._run.recipe.scores, self._seed)

    def decision(self, cycle: int) -> Decision:
        return read_decision(self._folder.decision(cycle))

    def contenders(self, cycle: int) -> Iterator[tuple[str, PolicyRef]]:
        """The champion the cycle began with, and the challengers that were judged."""
        yield "champion", champion_before(self._folder, self._run.materials.policy, cycle)
        for candidate in self.decision(cycle).challengers:
            if candidate.metrics is not None:
                yield candidate.name, self._folder.challenger(cycle, candidate.name)

    def cycle(self, cycle: int) -> CycleSummary:
        champion = champion_before(self._folder, self._run.materials.policy, cycle)
        truth = None
        if self.has_truth:
            truth = {
                name: self.measured(self.judgments("validation", policy, champion, "truth"))
                for name, policy in self.contenders(cycle)
            }
        times = find_times(self._folder.stages(cycle))
        stage_s = {s.stage: round(s.wall_s, 2) for s in times.stages} if times else None
        return cycle_summary(self.decision(cycle), _published(self._folder, cycle), truth, stage_s)

    def cycle_rows(self, cycle: int) -> Iterator[pa.Table]:
        base = self._run.materials.policy
        champion = champion_before(self._folder, base, cycle)
        chosen = self.decision(cycle).chosen
        kinds: tuple[JudgedBy, ...] = ("judge", "truth") if self.has_truth else ("judge",)
        for by in kinds:
            for name, policy in self.contenders(cycle):
                table = self.judgments("validation", policy, champion, by)
                keys = [self._key(cycle, "validation", policy, name, by, name == chosen)]
                # The model before the first cycle is at cycle 0 too.
                if cycle == 1 and policy == base:
                    keys.insert(0, self._key(0, "validation", policy, "base", by, True))
                yield from self._rows(table, self.measured(table), *keys)
            if cycle == 1 and champion != base:
                table = self.judgments("validation", base, champion, by)
                yield from self._rows(table, self.measured(table), self._key(0, "validation", base, "base", by, True))

    def test(self, champion: PolicyRef, by: JudgedBy) -> TestSummary:
        found = {name: TestFigures.of(self._measured_as(name, table)) for name, _, table in self._test(champion, by)}
        return TestSummary(**found)

    def test_rows(self, champion: PolicyRef, by: JudgedBy) -> Iterator[pa.Table]:
        for name, policy, table in self._test(champion, by):
            key = self._key(self.cycles, "test", policy, name, by, name == "champion")
            yield from self._rows(table, self._measured_as(name, table), key)
            if name in ("base", "champion"):
                yield from cares_rows(key, table, self._run.recipe.scores, self._seed)

    def _measured_as(self, name: str, table: pa.Table) -> Metrics:
        """A policy's metrics, or those of a baseline that answers every prompt alike."""
        return without_spread(self.measured(table)) if name in ALIKE else self.measured(table)

    def _test(self, champion: PolicyRef, by: JudgedBy) -> Iterator[tuple[str, PolicyRef, pa.Table]]:
        """Judged answers to the test prompts: of the models, and of the baselines, which need none."""
        for name, policy in tested_policies(self._run, champion).items():
            yield name, policy, self.judgments("test", policy, champion, by)
        train, test = (read_folder(self._folder.prompts(split)) for split in ("train", "test"))
        for baseline in BASELINES:
            yield baseline, PolicyRef(version=baseline, path=""), baseline_judgments(baseline, train, test)

    def _rows(self, table: pa.Table, metrics: Metrics, *keys: MetricsKey) -> Iterator[pa.Table]:
        """The rows of `metrics.parquet` for one policy's judged answers, by style and topic where prompts have some."""
        groups = groups_of(table, self._run.recipe, self._seed)
        for key in keys:
            yield metrics_rows(key, metrics)
            for found in groups.values():
                yield group_rows(key, found)

    def held_out(self, champion: PolicyRef) -> dict[str, HeldOutTest] | None:
        """Base and champion on what training has seen and on what the recipe holds out; None where it holds nothing."""
        by: JudgedBy = "truth" if self.has_truth else "judge"
        found: dict[str, HeldOutTest] = {}
        for name, policy in (("base", self._run.materials.policy), ("champion", champion)):
            groups = groups_of(self.judgments("test", policy, champion, by), self._run.recipe, self._seed)
            figures = {
                f"{grouping}s_{part}": TestFigures.of(of)
                for grouping, measured in groups.items()
                if measured.held_out is not None
                for part, of in (("seen", measured.seen), ("held_out", measured.held_out))
                if of is not None
            }
            if figures:
                found[name] = HeldOutTest.model_validate(figures)
        return found or None

    def judge_agreement(self, champion: PolicyRef) -> dict[str, Agreement] | None:
        """The run's judge against what is known better: ground truth on the test split, or XSTest's people."""
        found: dict[str, Agreement] = {}
        if self.has_truth:
            found[f"{self._run.judge_name(champion)} against {self.reference or GROUND_TRUTH}"] = self._against_truth(
                champion
            )
        rule = self._run.recipe.judge.row.rule
        if rule is not None and self._run.recipe.data.probe == "xstest":
            xstest, name = probe_folder(self._run.recipe, "xstest"), self._run.rating_judge(champion)
            found[f"{name} against XSTest's human labels"] = xstest_agreement(xstest, rule)
            found[f"{name}, refusal or not, against XSTest's human labels"] = xstest_agreement(
                xstest, rule, binary=True
            )
        return found or None

    def _against_truth(self, champion: PolicyRef) -> Agreement:
        policies = {p.version: p for p in (self._run.materials.policy, champion)}.values()
        judged = pa.concat_tables([self.judgments("test", p, champion, "judge") for p in policies])
        truth = pa.concat_tables([self.judgments("test", p, champion, "truth") for p in policies])
        columns = [judged[f"p_{label.lower()}"].to_pylist() for label in LABELS]
        probabilities = list(zip(*columns, strict=True))
        return agreement(truth["label"].to_pylist(), judged["label"].to_pylist(), probabilities, seed=self._seed)

    def probe(self, champion: PolicyRef) -> dict[str, Measured] | None:
        """Share of the probe's harmless prompts refused, by base and champion."""
        name = self._run.recipe.data.probe
        if name is None:
            return None
        by: JudgedBy = "truth" if self.has_truth else "judge"
        shares = {
            who: Measured.of(self.measured(self.judgments("probe", policy, champion, by)).err_strict)
            for who, policy in (("base", self._run.materials.policy), ("champion", champion))
        }
        return {
            f"{name.replace('-', '_')}_safe_refused_{who}": share for who, share in shares.items() if share is not None
        }

    def capability(self, champion: PolicyRef) -> WhatIsKept | None:
        """Capability of base and champion on the test split."""
        if self._run.recipe.capability is None:
            return None
        base = self._run.materials.policy
        before, after = (read_figures(self._folder, "test", policy.version) for policy in (base, champion))
        return WhatIsKept(base=before, champion=after)

    def harmfulness(self, champion: PolicyRef, of: PolicyRef | None = None) -> HarmfulnessTest | None:
        """Of base and champion on the test split, by the run's judge; `of`: another policy in the champion's place."""
        if self._run.recipe.harmfulness is None:
            return None
        base = self._run.materials.policy
        before, after = (read_harmfulness(self._run, policy, champion) for policy in (base, of or champion))
        return HarmfulnessTest(base=before, champion=after)

    def harmfulness_rows(self, champion: PolicyRef, found: HarmfulnessTest | None) -> Iterator[pa.Table]:
        if found is None:
            return
        base = self._run.materials.policy
        for name, policy, of in (("base", base, found.base), ("champion", champion, found.champion)):
            key = self._key(self._run.recipe.cycles, "test", policy, name, "judge", name == "champion")
            yield harmfulness_rows(key, of)

    def _key(
        self, cycle: int, split: PromptSet, policy: PolicyRef, algorithm: str, by: JudgedBy, winner: bool
    ) -> MetricsKey:
        return MetricsKey(
            run=self._folder.root.name,
            cycle=cycle,
            split=split,
            policy_version=policy.version,
            algorithm=algorithm,
            judged_by=by,
            winner=winner,
        )


def _published(folder: RunFolder, cycle: int) -> str | None:
    """The version a cycle put live, from the run's publication log."""
    return next((live.version for live in read_publications(folder.publications) if live.cycle == cycle), None)


def gpu_use(run: Run, cost: Cost, stages: Sequence[StageTime]) -> GpuUse | None:
    """GPUs of the run as its clocks and its plan tell of them; None on CPUs."""
    if not uses_gpus(run.recipe):
        return None
    held = make_plan(at_hand(run.recipe, run.materials)).gpus
    return measured(run.recipe, held, cost.wall_s, stages)


def _stages(folder: RunFolder, cycles: int) -> list[StageTime]:
    stages: list[StageTime] = [logged.time for logged in read_stage_log(folder)]
    for cycle in range(1, cycles + 1):
        times = find_times(folder.stages(cycle))
        stages += times.stages if times else ()
    return stages


def _stage_seconds(stages: Sequence[StageTime]) -> dict[str, float]:
    total: dict[str, float] = {}
    for stage in stages:
        total[stage.stage] = round(total.get(stage.stage, 0.0) + stage.wall_s, 2)
    return total
