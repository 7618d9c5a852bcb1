"""What a run writes about itself at its end: `summary.json`, a record; its rows are in `metrics_rows`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from actors.contract.records import ChallengerName, Interval, Record
from actors.contract.run_folder import RunFolder
from actors.files.records import find_record
from actors.judges.usage import Usage
from pipelines.cluster.times import NodeUse
from pipelines.cluster.turns.cost import GpuUse
from pipelines.decision.ending import is_over
from pipelines.decision.record import CandidateResult, Contender, Decision, ProbeEvidence
from pipelines.measures.agreement import Agreement
from pipelines.measures.capability.figures import Capability
from pipelines.measures.groups import GroupFigures
from pipelines.measures.harmfulness import Harmfulness
from pipelines.measures.metrics import MAIN_FIGURES, Metrics
from pipelines.measures.schemes import SchemeFigures

JudgedBy = Literal["judge", "truth"]
# What tables call the reference where a run names none.
GROUND_TRUTH = "ground truth"


class Measured(Record):
    """A figure with its 95 % interval; one without width has no spread by construction."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval | None) -> Measured | None:
        """The figure of an interval; None where it could not be measured."""
        if interval is None:
            return None
        return cls(value=interval.value, low=interval.low, high=interval.high)


class CycleFigures(Record):
    """One policy's main figures on the validation split."""

    ss: Measured | None
    err_strict: Measured | None
    asr: Measured | None
    # Harmful requests answered, not only hedged; None in summaries of earlier versions.
    answered: Measured | None = None

    @classmethod
    def of(cls, metrics: Metrics) -> CycleFigures:
        names = ("ss", "err_strict", "asr", "answered")
        return cls(**{name: Measured.of(getattr(metrics, name)) for name in names})


class TestFigures(Record):
    """One policy's figures on the test split."""

    # pytest would otherwise take the class for a test.
    __test__ = False

    ss: Measured | None
    ss_macro: Measured | None
    err_strict: Measured | None
    err_broad: Measured | None
    asr: Measured | None
    # None in summaries of earlier versions.
    answered: Measured | None = None
    # Answers that a guard finds unsafe; None where none judged, and in summaries of earlier versions.
    attack_success: Measured | None = None
    n: int

    @classmethod
    def of(cls, metrics: Metrics | GroupFigures) -> TestFigures:
        names = (*MAIN_FIGURES, "attack_success")
        return cls(**{name: Measured.of(getattr(metrics, name)) for name in names}, n=metrics.n)


class TestSummary(Record):
    """The final test, once: the model the run began with, the last champion, and what needs no model."""

    __test__ = False

    base: TestFigures
    # What was fine-tuned before the cycles; None where nothing was.
    sft: TestFigures | None = None
    champion: TestFigures
    always_refuse: TestFigures
    always_answer: TestFigures
    keyword_refuse: TestFigures
    # None: earlier versions did not have them.
    bigram_refuse: TestFigures | None = None
    fivegram_refuse: TestFigures | None = None


class HeldOutTest(Record):
    """One policy on the test split's requests by what training has seen; None where a run holds nothing of it out."""

    styles_seen: TestFigures | None = None
    styles_held_out: TestFigures | None = None
    topics_seen: TestFigures | None = None
    topics_held_out: TestFigures | None = None


class PublishedFigures(Record):
    """A policy that a decision let go live, and the deployed model, on prompts that no decision uses."""

    cycle: int
    policy: str
    # Whose labels they are.
    judge: str
    figures: TestFigures
    deployed: TestFigures
    # The same by ground truth, where there is one.
    truth: TestFigures | None = None
    deployed_truth: TestFigures | None = None


class CycleSummary(Record):
    """One cycle: who challenged whom, who won, and why."""

    cycle: int
    # The version the next cycle starts from.
    champion: str
    # By name; None where training failed, or had no rows.
    challengers: dict[ChallengerName, CycleFigures | None]
    decision: Contender
    # The version published in this cycle; None where nothing was.
    published_version: str | None
    # The decision's sentence.
    why: str | None = None
    # The version the cycle started from, and its figures on the same prompts.
    incumbent: str | None = None
    incumbent_figures: CycleFigures | None = None
    # The same policies by ground truth: champion (the incumbent) and challengers.
    truth: dict[str, CycleFigures] | None = None
    # Wall time of each stage.
    stage_s: dict[str, float] | None = None
    # Why no further cycle was run, where this one ended the run.
    ended: str | None = None
    # Challengers that had nothing to learn from, by name, as "no pairs"; None where all had.
    without_rows: dict[ChallengerName, str] | None = None
    # The winner's refusals of the probe's safe prompts, and those of what was live; None where nothing was asked.
    probe: ProbeEvidence | None = None

    @model_validator(mode="before")
    @classmethod
    def _former_fields(cls, given: Any) -> Any:
        """Summaries of earlier versions know two challengers, each by a field of its own."""
        if not isinstance(given, dict) or "challengers" in given:
            return given
        former = {name: given[name] for name in ("kto", "dpo") if name in given}
        return {"challengers": former} | {name: value for name, value in given.items() if name not in former}


def cycle_summary(
    decision: Decision,
    published_version: str | None,
    truth: dict[str, Metrics] | None = None,
    stage_s: dict[str, float] | None = None,
) -> CycleSummary:
    """A decision in the form of `summary.json`.

    Args:
        decision: of the cycle.
        published_version: what was published after it.
        truth: metrics by ground truth of champion and challengers, where there is one.
        stage_s: wall time of each stage.
    """
    return CycleSummary(
        cycle=decision.cycle,
        champion=decision.policy or decision.chosen,
        challengers={candidate.name: _figures(candidate) for candidate in decision.challengers},
        decision=decision.chosen,
        published_version=published_version,
        why=f"{decision.sentence} {decision.publication_sentence}" if _held_back(decision) else decision.sentence,
        incumbent=decision.champion.policy,
        incumbent_figures=_figures(decision.champion),
        truth={name: CycleFigures.of(metrics) for name, metrics in truth.items()} if truth else None,
        stage_s=stage_s,
        ended=decision.ended,
        without_rows=_without_rows(decision) or None,
        probe=decision.probe,
    )


def challengers_of(cycles: Iterable[CycleSummary]) -> tuple[ChallengerName, ...]:
    """Every challenger of these cycles, once, in the order they are found in."""
    return tuple(dict.fromkeys(name for cycle in cycles for name in cycle.challengers))


def _without_rows(decision: Decision) -> dict[ChallengerName, str]:
    idle = [candidate for candidate in decision.challengers if candidate.standing == "no_rows"]
    return {candidate.name: candidate.sentence.partition(":")[0] for candidate in idle}


def _held_back(decision: Decision) -> bool:
    """Whether a challenger won and is not published, which a reader wants explained."""
    return decision.chosen != "champion" and not decision.let_live


def _figures(candidate: CandidateResult) -> CycleFigures | None:
    return CycleFigures.of(candidate.metrics) if candidate.metrics is not None else None


class WhatIsKept(Record):
    """Capability on the test split: of the model the run began with, and of the last champion."""

    base: Capability
    champion: Capability


class HarmfulnessTest(Record):
    """Harmfulness of answers to the harmful test prompts: of the model the run began with, and of the last champion."""

    base: Harmfulness
    champion: Harmfulness


class FineTuned(Record):
    """What the fine-tuning on demonstrations did before the cycles: the test split, before and after it."""

    policy: str
    demonstrations: int
    steps: int
    train_s: float
    # The first and the last that were logged; None where none was.
    losses: tuple[float | None, float | None]
    judged_by: JudgedBy
    before: TestFigures
    after: TestFigures
    # Its `champion` is the fine-tuned policy; None where the run does not ask for it.
    harmfulness: HarmfulnessTest | None = None
    # The same; None where the run measures none.
    capability: WhatIsKept | None = None


class Disagreement(Record):
    """Mean distance of an ensemble's judges, 0 (one mind) to 1 (see `actors.judges.ensemble`), over n answers."""

    mean: float
    n: int


class Summary(Record):
    """`summary.json`: the whole run on one page."""

    recipe: str
    seed: int
    wall_s: float
    # Peak of the proportional set sizes of all the run's processes.
    peak_memory_gib: float
    cycles: tuple[CycleSummary, ...]
    test: TestSummary
    # Who judged the figures under `test`.
    test_judged_by: JudgedBy | None = None
    # Who gave the labels called truth; None: ground truth, or none, and in summaries of earlier versions.
    reference: str | None = None
    # The same by the run's own judge, where `test` is by ground truth.
    test_by_judge: TestSummary | None = None
    # Of each judge, against ground truth or human labels.
    judge_agreement: dict[str, Agreement] | None = None
    # What a judge that charges used over the whole run; None where none did.
    judge_usage: Usage | None = None
    # How far several judges were apart, over all judged answers; None where one judged alone.
    judge_disagreement: Disagreement | None = None
    # Wall time of each stage over the whole run.
    stage_s: dict[str, float] | None = None
    # Nodes with GPUs of a cluster that was joined, as seen while it ran; None elsewhere, and in earlier versions.
    node_use: NodeUse | None = None
    # GPUs held and at work over the whole run, and their price; None on CPUs, and in earlier versions.
    gpu_use: GpuUse | None = None
    # Base and champion on seen and held-out styles and topics; None where nothing is held out.
    held_out: dict[str, HeldOutTest] | None = None
    # Further shares a recipe reports, such as XSTest's safe prompts refused by base and champion.
    measured: dict[str, Measured] | None = None
    # What the policy could before and after; None where the run measures none.
    capability: WhatIsKept | None = None
    # How harmful answers are, 1 to 5, by the run's judge; None where the run does not ask it.
    harmfulness: HarmfulnessTest | None = None
    # Base and champion under each inference scheme, and as deployed; empty where the recipe names none.
    schemes: tuple[SchemeFigures, ...] = ()
    # Each published policy's figures on prompts that no decision uses; empty where none were set apart.
    published: tuple[PublishedFigures, ...] = ()
    # What fine-tuning did before the cycles; None where nothing was fine-tuned.
    sft: FineTuned | None = None
    # What a reader should know, in sentences.
    notes: tuple[str, ...] = ()


def find_published(folder: RunFolder, cycles: int) -> tuple[PublishedFigures, ...]:
    """The figures of the policies that a run's decisions let go live, in their order, as far as they were measured.

    Raises:
        SalusError: a record cannot be read.
    """
    paths = (folder.published_figures(cycle) for cycle in range(1, cycles + 1))
    found = (find_record(PublishedFigures, path, "the figures of a published policy") for path in paths)
    return tuple(each for each in found if each is not None)


def find_summary(path: Path) -> Summary | None:
    """A run's summary; None where it has none yet.

    Raises:
        SalusError: it cannot be read.
    """
    return find_record(Summary, path, "the summary of a run")


def complete_summary(path: Path, cycles: int) -> Summary | None:
    """The summary of a run that is over; None where there are cycles to go. Raises as `find_summary` does."""
    summary = find_summary(path)
    return summary if summary is not None and is_over(summary.cycles, cycles) else None
