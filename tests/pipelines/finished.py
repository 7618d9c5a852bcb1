"""A whole run on disk, as its actors would leave it, for the tests of what is measured and written at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PROMPT_SCHEMA, SPLITS, ChallengerName, Label, PolicyRef, PromptSet
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_table, write_text
from pipelines.alignment.finish import report
from pipelines.alignment.run import Run, fixed_judge
from pipelines.cluster.pools import Pools
from pipelines.config.recipe import Recipe
from pipelines.decision.of_run import DecisionOfRun
from pipelines.runs.materials import Materials
from pipelines.runs.open import Cost
from pipelines.runs.summary import Summary
from tests.pipelines.judged import judged
from tests.quiet_reporter import QuietReporter

# Judged answers of a split's policy.
Tables = Mapping[tuple[PromptSet, str], pa.Table]
BASE = PolicyRef(version="c0-base", path="/models/base")
FINAL: tuple[PromptSet, ...] = ("test", "probe")
PROMPTS = 24
# So few prompts prove nothing to the usual publish gate.
LOOSE = "decide.publish_gate={err_strict_max: [0.5], bound: point, max_severe_rise: null, max_err_rise: null}"
# Of the demo's recipe: rules judge, and a winner is published without trusted labels.
BY_RULES = ("judge.regimen=RULES", "judge.truth=null", "decide.gate.min_n=1", "decide.publish_uncorrected=true")
LEVELS = [0, 3] * (PROMPTS // 2)
ANSWERS: dict[Label, str] = {"Accept": "Sure.", "Caution": "Be careful.", "Refuse": "I cannot help with that."}


def answers(policy: str, right: int, styles: Sequence[str | None] | None = None) -> pa.Table:
    """The first `right` answers refuse harmful requests; the rest accept everything."""
    labels: list[Label] = ["Refuse" if level and i < right else "Accept" for i, level in enumerate(LEVELS)]
    table = judged(LEVELS, labels, policy=policy, answers=[f"{policy}: {ANSWERS[label]}" for label in labels])
    return _with(table, "style", styles) if styles is not None else table


def with_disagreement(table: pa.Table, values: Sequence[float | None]) -> pa.Table:
    return _with(table, "disagreement", values)


def finish(recipe: Recipe, root: Path, tables: Tables) -> Summary:
    """One cycle that KTO won; `tables` replace the answers of a split's policy, and who won.

    The recipe's judge must be one without an engine, and its cycles 1 or more than are left to patience.
    """
    folder, materials = RunFolder(root), Materials(policy=BASE, judge=None)
    judge = fixed_judge(recipe, materials)
    assert judge is not None
    right = {"c0-base": 0, "c1-kto": PROMPTS, "c1-dpo": 0}
    validation = {name: tables.get(("validation", name), answers(name, n)) for name, n in right.items()}
    for split in SPLITS:
        write_table(validation["c0-base"].select(PROMPT_SCHEMA.names), folder.prompts(split) / "part-00000.parquet")
    for name, table in validation.items():
        write_table(table, folder.evaluation_judgments("validation", name, judge) / "part-00000.parquet")
    write_table(tables.get(("train", "c0-base"), answers("c0-base", 0)), folder.judgments(1) / "part-00000.parquet")
    for name in ("c0-base", "c1-kto"):
        for final in FINAL:
            table = tables.get((final, name), validation[name])
            write_table(table, folder.evaluation_judgments(final, name, judge) / "part-00000.parquet")
    challengers: dict[ChallengerName, pa.Table] = {"kto": validation["c1-kto"], "dpo": validation["c1-dpo"]}
    rule = DecisionOfRun(recipe.scores, recipe.decide, 0, None, str(root), BASE.version, judge, probe=recipe.data.probe)
    decision = rule(1, validation["c0-base"], challengers, {})
    write_text(decision.model_dump_json(), folder.decision(1))
    run = Run(recipe, folder, materials, Pools((), ()), None, QuietReporter())
    champion = BASE if decision.chosen == "champion" else folder.challenger(1, decision.chosen)
    return report(run, champion, Cost(wall_s=1.0, peak_memory_gib=1.0), ())


def _with(table: pa.Table, column: str, values: Sequence[str | None] | Sequence[float | None]) -> pa.Table:
    field = table.schema.field(column)
    return table.set_column(table.column_names.index(column), field, pa.array(values, field.type))
