"""Recipe -> the actors it needs and what they do; or the sentence that says why they cannot fit.

Everything is computed before anything starts, so that no run waits for resources that never come.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from rich.table import Table

from actors.contract.records import Record, RowKind
from actors.errors import SalusError
from actors.training.algorithms.table import ALGORITHMS
from pipelines.cluster.demand import PlanRow, demand
from pipelines.cluster.devices import Resources, this_machine
from pipelines.cluster.machine.gpus import check_gpus
from pipelines.config.cluster import ClusterConfig
from pipelines.config.recipe import Recipe

__all__ = ["Plan", "PlanRow", "Resources", "available", "check", "make_plan", "plan_of", "plan_table"]

Demand = Literal["cpus", "gpus", "memory_gib"]
# What a demand is called, and the setting of section cluster that overrules what was found.
UNITS: dict[Demand, tuple[str, str]] = {
    "cpus": ("CPUs", "logical_cpus"),
    "gpus": ("GPUs", "gpus"),
    "memory_gib": ("GiB of memory", "memory_gib"),
}


class Plan(Record):
    """All actors of a run, their demand in total, and what one cycle does."""

    recipe: str
    rows: tuple[PlanRow, ...]
    cpus: float
    gpus: float
    memory_gib: float
    steps: tuple[str, ...] = Field(description="one line per step of a cycle")


def make_plan(recipe: Recipe) -> Plan:
    """What the recipe will start and do.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    return plan_of(recipe, demand(recipe), _steps(recipe))


def plan_of(recipe: Recipe, rows: tuple[PlanRow, ...], steps: tuple[str, ...] = ()) -> Plan:
    """These actors, and their demand in total."""
    return Plan(
        recipe=recipe.name,
        rows=rows,
        cpus=round(sum(row.count * row.cpus for row in rows), 3),
        gpus=round(sum(row.count * row.gpus for row in rows), 3),
        memory_gib=round(sum(row.count * row.memory_gib for row in rows), 1),
        steps=steps,
    )


def available(recipe: Recipe) -> Resources:
    """What the recipe's Ray has, or will have.

    The recipe's section `cluster` overrules what is found. A cluster that this process is not part of is joined for the
    question. Nodes that may still be started count where the cluster's autoscaler says so.

    Raises:
        SalusError: no cluster answers at the recipe's address.
    """
    cluster = recipe.cluster
    if cluster.joined is None:
        found = this_machine()
    else:
        # Ray is imported where a cluster is asked for; the plan of an embedded run does without.
        from pipelines.cluster.join import cluster_resources

        found = cluster_resources(cluster.joined)
    return told(cluster, found)


def told(cluster: ClusterConfig, found: Resources) -> Resources:
    """What was found, and what the settings say of it."""
    return found.model_copy(
        update={
            name: value
            for name, value in (
                ("cpus", cluster.logical_cpus),
                ("gpus", cluster.gpus),
                ("node_gpus", _largest_node(cluster, found)),
                ("memory_gib", cluster.memory_gib),
                ("gpu_memory_gib", cluster.gpu_memory_gib),
            )
            if value is not None
        }
    )


def _largest_node(cluster: ClusterConfig, found: Resources) -> float | None:
    if cluster.node_gpus is not None:
        return cluster.node_gpus
    # All on one node, where nothing else is said.
    return None if cluster.gpus is None else max(found.node_gpus, cluster.gpus)


def check(plan: Plan, resources: Resources) -> None:
    """Hold the plan against what there is, CPUs first: they are what is forgotten.

    Raises:
        SalusError: names what is missing, by how much, and how to mend it.
    """
    if resources.cpus is not None:
        _check_total(plan, "cpus", plan.cpus, resources.cpus, resources)
    _check_total(plan, "gpus", plan.gpus, resources.gpus, resources)
    for row in plan.rows:
        _check_each(plan, row, resources)
    check_gpus(plan.recipe, plan.rows, resources)
    _check_total(plan, "memory_gib", plan.memory_gib, resources.memory_gib, resources)


def _check_total(plan: Plan, what: Demand, needed: float, there: float, resources: Resources) -> None:
    """The demand of all actors together."""
    if needed <= there:
        return
    unit, override = UNITS[what]
    most = max(plan.rows, key=lambda row: float(row.count * getattr(row, what)))
    grow = f", or, if it can grow, say how far with cluster.{override}" if resources.shared else ""
    raise SalusError(
        f"Recipe {plan.recipe} needs {needed:g} {unit}, but {resources.where} has {there:g},"
        f" {round(needed - there, 1):g} too few. Free or add some, or ask for less in section {most.section}"
        f" (its {most.count} {most.actor}(s) take the most){grow}."
    )


def _check_each(plan: Plan, row: PlanRow, resources: Resources) -> None:
    """One actor must fit one node, and its share of the model one GPU."""
    who = f"One {row.actor} of recipe {plan.recipe}"
    if row.gpus > resources.node_gpus:
        raise SalusError(
            f"{who} needs {row.gpus:g} GPUs of one node, but the largest node of {resources.where} has"
            f" {resources.node_gpus:g}. Split it less in section {row.section}, or add a larger node."
        )
    if resources.gpu_memory_gib is not None and row.gpu_memory_gib > resources.gpu_memory_gib:
        one = f" for its weights and one answer of the {row.sequences} that it may decode at once" * bool(row.sequences)
        raise SalusError(
            f"{who} needs about {row.gpu_memory_gib:.0f} GiB on each of its GPUs{one}, but those of"
            f" {resources.where} have {resources.gpu_memory_gib:.0f}. In section {row.section} spread it over"
            " more GPUs, shorten its sequences or shrink its batches."
        )


def plan_table(plan: Plan) -> Table:
    """The plan as `salus plan` prints it."""
    table = Table(
        title=f"Plan of {plan.recipe}",
        title_justify="left",
        caption="CPUs, GPUs and memory in GiB are those of one actor; GPU memory is per GPU.",
        caption_justify="left",
    )
    table.add_column("actor", no_wrap=True)
    for name in ("count", "CPUs", "GPUs", "memory", "GPU memory"):
        table.add_column(name, justify="right")
    for row in plan.rows:
        figures = (row.cpus, row.gpus, row.memory_gib, row.gpu_memory_gib)
        table.add_row(row.actor, str(row.count), *(f"{figure:.3g}" if figure else "-" for figure in figures))
    table.add_section()
    table.add_row("in total", "", f"{plan.cpus:g}", f"{plan.gpus:g}", f"{plan.memory_gib:g}", "")
    return table


def _steps(recipe: Recipe) -> tuple[str, ...]:
    # Whole shards are answered; how many there are, the data says.
    prompts, k = recipe.data.shards_per_cycle * recipe.data.prompts_per_shard, recipe.generate.sampling.k
    challengers = recipe.train.challengers
    per_policy = _validation(recipe)
    policies = 1 + len(challengers)
    answers = prompts * k
    replayed = ", and those of all earlier cycles" if recipe.preference.replay else ""
    pairs = prompts * min(recipe.preference.pairs_per_prompt, k * k // 4 or 1)
    kept = ", and their capability" if recipe.capability is not None else ""
    evaluated = f"{policies * per_policy:,} answers" if per_policy else "all its prompts"
    training = []
    most: dict[RowKind, int] = {"unpaired": answers, "pairs": pairs}
    for name, settings in challengers.items():
        rows = most[ALGORITHMS[recipe.train.algorithms[name]].rows]
        batch = settings.batch_size * settings.gradient_accumulation * recipe.train.workers_per_run
        training.append(f"{name.upper()} about {max(1, round(rows * settings.epochs / batch)):,} steps of {batch}")
    words: dict[RowKind, str] = {"unpaired": f"{answers:,} KTO rows", "pairs": f"{pairs:,} DPO pairs"}
    shuffled = " and ".join(words[kind] for kind in recipe.train.row_kinds)
    generators, judges, workers = recipe.generate.actors, recipe.judge.actors, recipe.train.workers_per_run
    after = "publish the winner in place" if recipe.publish.enabled else "go on from the winner"
    return (
        f"generate: up to {prompts:,} prompts x {k} = {answers:,} rollouts on {generators} engine(s)",
        f"judge: {answers:,} judgments ({'+'.join(recipe.judge.voices)}) by {judges} judge(s), while generating",
        f"shuffle: at most {shuffled}{replayed}",
        f"train: {', '.join(training)} in the first cycle, at the same time, {workers} worker(s) each",
        f"evaluate: {policies} policies on the validation split, {evaluated}, greedy, judged{kept}",
        f"decide: {after}; {_cycles(recipe)}",
    )


def _cycles(recipe: Recipe) -> str:
    patience = recipe.decide.patience
    if patience is None:
        return f"{recipe.cycles} cycle(s) in all"
    return f"at most {recipe.cycles} cycle(s) in all, fewer once the champion has stayed in {patience} in a row"


def _validation(recipe: Recipe) -> int | None:
    known = recipe.clinic.validation_prompts if recipe.data.source == "clinic" else None
    limits = [n for n in (recipe.data.validation, known) if n is not None]
    return min(limits) if limits else None
