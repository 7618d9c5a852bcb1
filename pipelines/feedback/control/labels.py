"""The control labels of a cycle, by the reference that the recipe names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from actors.contract.records import Label
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.files.shards import strings
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.decision.control import control_table, draw_control, drawn_answers, told_too_few, write_control
from pipelines.feedback.control.people import PEOPLE, LabelsMissing, Patience, labels_folder, wait_for_people
from pipelines.feedback.control.queue import keys_of, write_queue
from pipelines.feedback.control.second_judge import OpenJudge, second_labels, told_second_judge
from pipelines.judges.pool import judging
from pipelines.runs.prompts.sets import truth_rule

# One contender's rows in, its trusted labels out.
_Labels = Callable[[pa.Table], list[Label | None]]


def label_control(
    recipe: Recipe,
    folder: RunFolder,
    cycle: int,
    judged: Mapping[str, pa.Table],
    reporter: Reporter,
    patience: Patience | None = None,
    opened: OpenJudge = judging,
) -> None:
    """Write the trusted labels of a sample of each contender's answers; nothing where there is no reference.

    What a decision was made on is left as it is.

    Args:
        recipe: names the reference.
        folder: of the run.
        cycle: counted from 1.
        judged: judged answers to the validation prompts of "champion" and of each challenger.
        reporter: is told of progress.
        patience: with people; None: as the recipe says.
        opened: brings a second judge up.

    Raises:
        LabelsMissing: people have labelled too few, and the recipe stops then.
        SalusError: the second judge cannot be asked, or the labels of people cannot be read.
    """
    kind = recipe.control_reference
    done = folder.control(cycle)
    if kind is None or (done.is_file() and folder.decision(cycle).is_file()):
        return
    seed = derive_seed(recipe.seed, "control", cycle)
    drawn = draw_control(judged["champion"], recipe.decide.control.per_contender, seed)
    rows = {name: drawn_answers(table, drawn) for name, table in judged.items()}
    work = folder.control_work(cycle)
    if kind == "people":
        waited = patience or Patience(recipe.decide.control.wait_minutes)
        tables = _by_people(recipe, cycle, rows, drawn, work, reporter, waited)
    elif kind == "judge":
        reference = told_second_judge(recipe)
        labels = iter(second_labels(recipe, pa.concat_tables(rows.values()), work, reporter, opened))
        given = {name: [next(labels) for _ in range(table.num_rows)] for name, table in rows.items()}
        tables = {name: control_table(name, table, drawn, reference, given[name]) for name, table in rows.items()}
    else:
        rule = truth_rule(recipe)
        assert rule is not None
        reference = str(recipe.judge.truth)
        tables = {
            name: control_table(name, table, drawn, reference, [rule(answer) for answer in strings(table, "answer")])
            for name, table in rows.items()
        }
    write_control(tables, done)


def _by_people(
    recipe: Recipe,
    cycle: int,
    rows: Mapping[str, pa.Table],
    drawn: pa.Table,
    work: Path,
    reporter: Reporter,
    patience: Patience,
) -> dict[str, pa.Table]:
    # Where the judge said nothing, there is nothing of it to check.
    asked = [table.filter(pc.is_valid(table["label"])) for table in rows.values()]
    write_queue(asked, work, derive_seed(recipe.seed, "control queue", cycle))
    wanted = list(dict.fromkeys(key for table in asked for key in keys_of(table)))
    place = labels_folder(recipe)
    run = work.parent.parent.parent
    where = f"on the page /review of an endpoint (salus serve --set pages.run={run} --set pages.labels={place})"
    known = wait_for_people(wanted, place, patience, f"cycle {cycle}", where, reporter)
    tables = {
        name: control_table(name, table, drawn, PEOPLE, [known.get(key) for key in keys_of(table)])
        for name, table in rows.items()
    }
    missing = len(wanted) - len(known)
    if not missing:
        return tables
    told = f"{missing} of {len(wanted)} control answers of cycle {cycle} have no label by people"
    together = pa.concat_tables(tables.values())
    # No person can help where the judge itself labelled too few.
    helped = [
        name
        for name, table in rows.items()
        if told_too_few(control_table(name, table, drawn, PEOPLE, table["label"].to_pylist()), name) is None
    ]
    too_few = [sentence for name in helped if (sentence := told_too_few(together, name)) is not None]
    if too_few and recipe.decide.control.late == "stop":
        raise LabelsMissing(
            f"{told}: {too_few[0]} Label them {where}. Then run the same command again: it goes on here. --set"
            " decide.control.late=stay lets the champion stay instead."
        )
    reporter.say(f"cycle {cycle}: {told}" + (". The champion stays" if too_few else ""))
    return tables
