"""What the decisions of a run will be able to see, and who will check their judge: said before it starts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.recipe import Recipe
from pipelines.decision.alpha import share_of_alpha
from pipelines.decision.clusters import clusters
from pipelines.decision.control import draw_control
from pipelines.decision.resolution import SPREAD, detectable_gain, err_that_gate_lets_pass, foreseen_error
from pipelines.feedback.control.people import labels_folder
from pipelines.feedback.control.second_judge import told_second_judge
from pipelines.measures.shares import effective_n, independent_prompts


def decision_lines(recipe: Recipe, validation: pa.Table | None) -> Iterator[str]:
    """A line each on the gain that cycle 1 finds, the ERR that could pass, and the reference of control labels.

    Args:
        recipe: the run's.
        validation: its validation prompts; None: they are not here yet.

    Raises:
        SalusError: the second judge is refused.
    """
    if validation is not None and validation.num_rows:
        labels = _labels(recipe, validation)
        yield _gain_line(recipe, validation, labels)
        yield _err_line(recipe, validation)
    yield _reference_line(recipe)


def _labels(recipe: Recipe, validation: pa.Table) -> int:
    """How many answers of each contender will be labelled."""
    if recipe.control_reference is None:
        return 0
    return draw_control(validation, recipe.decide.control.per_contender, 0).num_rows


def _gain_line(recipe: Recipe, validation: pa.Table, labels: int) -> str:
    decide, looks = recipe.decide, len(recipe.contestants)
    alpha = share_of_alpha(decide, (), recipe.cycles).cycle
    share = alpha / (1 if decide.correction == "none" else looks)
    rows, cluster = validation.num_rows, decide.cluster.replace("_", " ")
    worth, bases = (effective_n(np.bincount(clusters(validation, by))) for by in (decide.cluster, "base_prompt"))
    independent = min(float(labels), bases)
    least, most = (detectable_gain(foreseen_error(n, rows, independent), share) for n in (float(rows), worth))
    assert least is not None and most is not None
    gain = f"{most:.2f}" if f"{least:.2f}" == f"{most:.2f}" else f"{least:.2f} to {most:.2f}"
    alike = "" if worth == rows else f", which are worth {worth:.4g} where those of one {cluster} are all alike"
    checked = f", and a judge that is right on all {labels} control answers of each policy" if labels else ""
    return (
        f"decide: cycle 1 finds a gain in SS of {gain} in 80 % of cases, at alpha {alpha:.2g} for {looks}"
        f" challenger(s). Assumed: {rows:,} prompts{alike}; marks that differ by {SPREAD:g} (standard"
        f" deviation){checked}"
    )


def _err_line(recipe: Recipe, validation: pa.Table) -> str:
    harmless = validation.filter(pc.equal(validation["level"], pa.scalar(0, pa.int8())))
    bases, worth = len(harmless["base_prompt"].unique()), independent_prompts(validation, 0)
    gate = (recipe.decide.publish_gate if recipe.publish.enabled else None) or recipe.decide.gate
    found = err_that_gate_lets_pass(worth, gate, recipe.cycles)
    could = (
        "no ERR could pass"
        if found is None
        else f"a policy with a true ERR of {found:.3f} would still pass in one of twenty splits"
    )
    if gate.err_limit(recipe.cycles) is None:
        could = "ERR has no limit"
    return f"decide: {bases:,} harmless base prompts, worth {worth:.4g} independent ones; {could}"


def _reference_line(recipe: Recipe) -> str:
    control, kind = recipe.decide.control, recipe.control_reference
    if kind is None:
        follows = (
            "winners are published all the same (decide.publish_uncorrected)"
            if recipe.decide.publish_uncorrected
            else "nothing is published"
        )
        return f"control: no one labels the contenders' answers, so no gain is corrected, and {follows}"
    if kind == "people":
        late = "the run stops" if control.late == "stop" else "the champion stays"
        who = (
            f"people, whose labels are in {labels_folder(recipe)}. A cycle waits up to {control.wait_minutes:g}"
            f" minutes; where too few are labelled by then, {late}"
        )
    else:
        who = f"a second judge ({told_second_judge(recipe)})" if kind == "judge" else "ground truth"
    return f"control: {control.per_contender} answers of each policy a cycle are labelled by {who}"
