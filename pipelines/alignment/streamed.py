"""Tasks of a run through its two pools, with bars, and how many answers of each policy got no usable label.

Too many of a policy that all else rests on stop the run. A challenger's own answers may be such that no judge can label
them, as those of a policy that training broke. That costs the challenger its chance, by the gate's `min_coverage`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.records import UNFINISHED_THOUGHT
from actors.contract.span import Span
from actors.errors import SalusError
from actors.files.shards import read_columns, read_folder, strings
from actors.judges.regimens import REGIMENS
from pipelines.alignment.run import Run
from pipelines.cluster.progress import Bar
from pipelines.cluster.stream import ShardTask, StreamReport, stream
from pipelines.config.judge import JudgeConfig
from pipelines.measures.language import LanguageShare, language_share
from pipelines.measures.metrics import cut_off_share

# Above this share of answers that were cut off, the run warns.
MANY_CUT_OFF = 0.1


def run_stream(run: Run, name: str, tasks: Sequence[ShardTask]) -> StreamReport:
    """Stream tasks through the pools, with bars.

    Raises:
        SalusError: more answers of a policy than the recipe allows got no usable label.
    """
    report = streamed(run, name, tasks)
    check_labelled(run, name, tasks)
    return report


def streamed(
    run: Run, name: str, tasks: Sequence[ShardTask], meanwhile: Callable[[], None] = lambda: None
) -> StreamReport:
    """The same, whatever has no label; `meanwhile` is called at least once a second."""
    if not tasks:
        # As in a cycle that learns from pairs alone: there is nothing to tell of.
        return StreamReport()
    k = tasks[0].rollout.sampling.k
    waiting = [task for task in tasks if not task.done]
    total = sum(shard_rows(task) for task in waiting) * k
    generated = run.reporter.bar(f"{name}: generating", total, "answers")
    judged = run.reporter.bar(f"{name}: judging", total, "answers")
    try:
        waits = run.pools.waits
        limits = waits.limits(run.recipe.generate.shard_timeout_s, run.recipe.judge.shard_timeout_s)
        count, report = (_generated(run, generated), _judged(run, judged)), StreamReport()
        # Engines that have their turn are opened for work alone.
        for generators, judges in run.pools.passes() if waiting else ():
            report.add(stream(waiting, generators, judges, *count, waits.queues, limits, meanwhile))
    finally:
        generated.close()
        judged.close()
    if run.pools.labels:
        for line in judging_notes(run.recipe.judge, [Path(task.judgment.output) for task in tasks]):
            run.reporter.say(f"{name}: {line}")
    return report


def judging_notes(judge: JudgeConfig, judged: Sequence[Path]) -> Iterator[str]:
    """What a judging step shows of its judge: its mean coverage, and answers that its rules cannot read.

    Args:
        judge: who judged.
        judged: the files of its judgments, those of an earlier session too.
    """
    rows = [REGIMENS[voice] for voice in judge.voices]
    english_only = any(row.english_only for row in rows)
    columns = ["coverage", *(["answer"] if english_only else [])]
    tables = [read_columns(file, columns) for file in judged if file.is_file()]
    n = sum(table.num_rows for table in tables)
    if not n:
        return
    # A rule always gives a label.
    if any(row.rule is None for row in rows):
        mean = sum(pc.sum(table["coverage"]).as_py() for table in tables) / n
        yield f"mean coverage of the judge {mean:.3f} (share of its replies that are labels), n {n:,}"
    if english_only:
        share = sum((language_share(strings(table, "answer")) for table in tables), LanguageShare(other=0, n=0))
        if share.n and share.mostly_other:
            yield (
                f"WARNING: {share.other:,} of {share.n:,} answers do not look English, and refusal rules know English"
                " only; take another judge, such as a model that reads their language"
            )


@dataclass
class Unlabelled:
    """Answers of one policy, by whether they have a label."""

    # Of the judgments.
    folder: Path
    answers: int = 0
    unlabelled: int = 0
    # Of these: thoughts that never ended, which no judge is asked about.
    unfinished: int = 0

    @property
    def share(self) -> float:
        return self.unlabelled / self.answers if self.answers else 0.0

    @property
    def coverage(self) -> float:
        """As `pipelines.measures.metrics` has it for the gate, to the last bit."""
        return (self.answers - self.unlabelled) / self.answers if self.answers else 0.0

    def sentence(self, policy: str) -> str:
        unfinished = f" ({self.unfinished} are thoughts that never ended)" if self.unfinished else ""
        return f"{self.unlabelled} of {self.answers} answers of {policy} got no usable label{unfinished}"


def check_labelled(
    run: Run, name: str, tasks: Sequence[ShardTask], challengers: Collection[str] = ()
) -> tuple[str, ...]:
    """Hold each policy's judged answers against `judge.max_missing`, those of an earlier session too.

    Args:
        name: of the step, for people.
        tasks: of the step; those that are not judged count for nothing.
        challengers: versions that the gate keeps from winning where they lack labels; the run says so and goes on.

    Returns:
        Those of them that lack so many.

    Raises:
        SalusError: a policy has more answers without a usable label than the recipe allows, and is no such challenger.
    """
    recipe, broken = run.recipe, []
    for policy, found in unlabelled(tasks).items():
        if found.share <= recipe.judge.max_missing:
            continue
        told = f"{name}: {found.sentence(policy)}"
        if policy in challengers and found.coverage < recipe.decide.gate.min_coverage:
            run.reporter.say(f"{told}; with less than decide.gate.min_coverage it cannot win")
            broken.append(policy)
            continue
        raise SalusError(f"{told}, more than judge.max_missing {recipe.judge.max_missing:g} allows. {_cure(found)}")
    return tuple(broken)


def unlabelled(tasks: Sequence[ShardTask]) -> dict[str, Unlabelled]:
    """The judged answers of each policy, by version, as far as they are on disk."""
    found: dict[str, Unlabelled] = {}
    for task in tasks:
        file = Path(task.judgment.output)
        if not file.is_file():
            continue
        table = read_columns(file, ("label", "finish_reason"))
        missing = table.filter(pc.is_null(table["label"]))
        of = found.setdefault(task.rollout.policy.version, Unlabelled(file.parent))
        of.answers += table.num_rows
        of.unlabelled += missing.num_rows
        of.unfinished += missing.filter(pc.equal(missing["finish_reason"], pa.scalar(UNFINISHED_THOUGHT))).num_rows
    return found


def _cure(found: Unlabelled) -> str:
    if found.unfinished > found.unlabelled / 2:
        return "Raise generate.sampling.max_tokens, or have the policy think less (model.chat_template_kwargs)."
    return (
        "Take another judge or prompt, or lower judge.min_coverage. Where the judge failed for a while, delete"
        f" {found.folder}: the same command has these answers judged again."
    )


def tell_cut_off(run: Run, name: str, answers: Path) -> None:
    """Say which share of the answers in a folder was cut off; a warning where that is more than a tenth."""
    share = cut_off_share(read_folder(answers, ("finish_reason",)))
    if not share:
        return
    told = f"{name}: {share:.1%} of the answers were cut off"
    if share > MANY_CUT_OFF:
        told += "; WARNING: that is more than a tenth, and they are never chosen. Raise generate.sampling.max_tokens"
    run.reporter.say(told)


def _generated(run: Run, bar: Bar) -> Callable[[Span], None]:
    """What is done with every shard that comes back from a generator."""

    def shard(span: Span) -> None:
        run.metrics.generated(span)
        _came_back(run, bar, span.rows)

    return shard


def _judged(run: Run, bar: Bar) -> Callable[[int], None]:
    """What is done with every shard that comes back from a judge."""

    def shard(rows: int) -> None:
        run.metrics.judged(rows)
        _came_back(run, bar, rows)

    return shard


def _came_back(run: Run, bar: Bar, rows: int) -> None:
    bar.advance(rows)
    run.check_lease()
    run.note()


def shard_rows(task: ShardTask) -> int:
    """Prompts in a task's shard, from the file's footer."""
    return int(pq.read_metadata(task.rollout.prompts).num_rows)
