"""The published policies on prompts that no decision uses: each once, after the decision that let it go live."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from actors.contract.records import Label, PolicyRef
from actors.contract.seeds import derive_seed
from actors.files.shards import read_folder, strings, write_text
from pipelines.alignment.run import Run
from pipelines.alignment.streamed import run_stream
from pipelines.cluster.times import Work
from pipelines.decision.ending import past_decisions
from pipelines.measures.metrics import measure
from pipelines.runs.outcomes import champion_before
from pipelines.runs.prompts.sets import truth_rule
from pipelines.runs.summary import PublishedFigures, TestFigures


def unmeasured(run: Run) -> list[tuple[int, PolicyRef]]:
    """The cycles that let a policy go live whose figures are not there yet, and these policies.

    None where the run has no such prompts. A policy that the endpoint refused is not among them.
    """
    return list(_unmeasured(run)) if run.folder.prompts("published").is_dir() else []


def measure_published(run: Run) -> list[Work]:
    """Write the figures of every published policy that has none; returns when each engine worked.

    Its answers are labelled by the judge of its cycle, as are those of the model the run began with.

    Raises:
        SalusError: more answers than the recipe allows got no usable label.
    """
    return [work for cycle, policy in unmeasured(run) for work in _measured(run, cycle, policy)]


def _unmeasured(run: Run) -> Iterator[tuple[int, PolicyRef]]:
    for decision in past_decisions(run.folder, run.recipe.cycles):
        if decision.let_live and not run.folder.published_figures(decision.cycle).is_file():
            yield decision.cycle, run.folder.challenger(decision.cycle, decision.chosen)


def _measured(run: Run, cycle: int, policy: PolicyRef) -> list[Work]:
    champion, deployed = champion_before(run.folder, run.materials.policy, cycle), run.materials.policy
    tasks = [task for each in (deployed, policy) for task in run.evaluation_tasks("published", each, champion)]
    report = run_stream(run, f"cycle {cycle} published", tasks)
    judge = run.judge_name(champion)
    own, before = (
        read_folder(run.folder.evaluation_judgments("published", each.version, judge)) for each in (policy, deployed)
    )
    figures = PublishedFigures(
        cycle=cycle,
        policy=policy.version,
        judge=judge,
        figures=_figures(run, own),
        deployed=_figures(run, before),
        truth=_by_truth(run, own),
        deployed_truth=_by_truth(run, before),
    )
    write_text(figures.model_dump_json(indent=2), run.folder.published_figures(cycle))
    return report.work


def _figures(run: Run, table: pa.Table) -> TestFigures:
    return TestFigures.of(measure(table, run.recipe.scores, derive_seed(run.recipe.seed, "report")))


def _by_truth(run: Run, table: pa.Table) -> TestFigures | None:
    if (rule := truth_rule(run.recipe)) is None:
        return None
    labels: list[Label] = [rule(answer) for answer in strings(table, "answer")]
    return _figures(run, table.set_column(table.column_names.index("label"), "label", pa.array(labels, pa.string())))
