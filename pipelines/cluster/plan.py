"""Recipe -> the actors it needs and what they do; or the sentence that says why they cannot fit.

Everything is computed before anything starts, so that no run waits for resources that never come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field
from rich.table import Table

from actors.contract.records import Record, RowKind
from actors.errors import SalusError
from actors.training.algorithms.table import ALGORITHMS
from pipelines.cluster.demand import Part, PlanRow, demand
from pipelines.cluster.devices import Resources, this_machine
from pipelines.cluster.machine.gpus import check_gpus
from pipelines.cluster.turns.cost import most_rows, sampled_prompts, uses_gpus
from pipelines.cluster.turns.division import divided, judged_beside
from pipelines.cluster.turns.stages import Stage, served_last, stages_of
from pipelines.config.cluster import ClusterConfig
from pipelines.config.recipe import Recipe
from pipelines.config.section import as_written

__all__ = [
    "Plan", "PlanRow", "Resources", "available", "check", "make_plan", "plan_of", "plan_table", "settled",
    "staged_plan", "step_plan"
]  # fmt: skip

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
    stages: tuple[Stage, ...] = Field((), description="what is up at once, where actors have their turns")

    @property
    def at_once(self) -> tuple[tuple[PlanRow, ...], ...]:
        """The actors that are up at once, stage by stage."""
        return tuple(stage.rows for stage in self.stages) or (self.rows,)


def make_plan(recipe: Recipe) -> Plan:
    """What the recipe will start and do.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    return staged_plan(recipe, stages_of(recipe), _steps(recipe))


def plan_of(recipe: Recipe, rows: tuple[PlanRow, ...]) -> Plan:
    """These actors, all at once, and their demand in total."""
    return staged_plan(recipe, (Stage(name="all", rows=rows),))


def staged_plan(recipe: Recipe, stages: Sequence[Stage], steps: tuple[str, ...] = ()) -> Plan:
    """The actors of these stages, which follow each other, and the most that one of them takes in total."""
    return Plan(
        recipe=recipe.name,
        rows=tuple(dict.fromkeys(row for stage in stages for row in stage.rows)),
        cpus=round(max(stage.total("cpus") for stage in stages), 3),
        gpus=round(max(stage.total("gpus") for stage in stages), 3),
        memory_gib=round(max(stage.total("memory_gib") for stage in stages), 1),
        steps=steps,
        stages=tuple(stages) if len(stages) > 1 else (),
    )


def step_plan(recipe: Recipe, *parts: Part) -> Plan:
    """What a command needs that starts these parts of a run alone.

    Raises:
        SalusError: the size of a model that it starts cannot be told.
    """
    return plan_of(recipe, demand(recipe, parts))


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the engines and workers that it has here; by turns they follow from the GPUs that there are.

    Raises:
        SalusError: no cluster answers at the recipe's address, or the size of a model cannot be told.
    """
    if recipe.cluster.placement == "apart":
        return recipe
    return divided(recipe, available(recipe).gpus if uses_gpus(recipe) else 0.0)


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
    for rows in plan.at_once:
        for row in rows:
            _check_each(plan, row, resources)
        check_gpus(plan.recipe, rows, resources)
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
    for stage in plan.stages:
        totals = (f"{stage.total(what):.3g}" for what in ("cpus", "gpus", "memory_gib"))
        table.add_row(f"turn: {stage.name}", "", *totals, "")
    total = "at most, at once" if plan.stages else "in total"
    table.add_row(total, "", f"{plan.cpus:g}", f"{plan.gpus:g}", f"{plan.memory_gib:g}", "")
    return table


def _steps(recipe: Recipe) -> tuple[str, ...]:
    # Whole shards are answered; how many there are, the data says.
    prompts, k = sampled_prompts(recipe), recipe.generate.sampling.k
    challengers = recipe.train.challengers
    per_policy = _validation(recipe)
    policies = 1 + len(recipe.contestants)
    answers = prompts * k
    most_earlier = recipe.preference.replay_cycles or "all"
    replayed = f", and those of {most_earlier} earlier cycles" if recipe.preference.replay else ""
    kept = ", and their capability" if recipe.capability is not None else ""
    evaluated = f"{policies * per_policy:,} answers" if per_policy else "all its prompts"
    training = []
    most = most_rows(recipe)
    for name, settings in challengers.items():
        rows = most[ALGORITHMS[recipe.train.algorithms[name]].rows]
        own = recipe.train.of(name)
        batch = settings.batch_size * own.challengers[name].gradient_accumulation * own.workers_per_run
        training.append(f"{name.upper()} about {max(1, round(rows * settings.epochs / batch)):,} steps of {batch}")
    words: dict[RowKind, str] = {"unpaired": f"{most['unpaired']:,} KTO rows", "pairs": f"{most['pairs']:,} DPO pairs"}
    shuffled = " and ".join(words[kind] for kind in recipe.train.row_kinds)
    generators, judges = recipe.generate.actors, recipe.judge.actors
    workers = [recipe.train.of(name).workers_per_run for name in challengers]
    each = f"{workers[0]} worker(s) each" if len(set(workers)) == 1 else f"{' and '.join(map(str, workers))} workers"
    how = "at the same time" if recipe.train.at_once else "one after the other"
    judged = "while generating" if judged_beside(recipe) else "after generating, on the same GPUs"
    after = "publish the winner in place" if recipe.publish.enabled else "go on from the winner"
    if served_last(recipe):
        after = "go on from the winner, and serve what may go live after the last cycle"
    return (
        *_fine_tuning(recipe),
        f"generate: up to {prompts:,} prompts x {k} = {answers:,} rollouts on {generators} engine(s)",
        f"judge: {answers:,} judgments ({'+'.join(recipe.judge.voices)}) by {judges} judge(s), {judged}",
        *_attacks(recipe),
        f"shuffle: at most {shuffled}{replayed}",
        f"train: {', '.join(training)} in the first cycle, {how}, {each}",
        *_merging(recipe),
        f"evaluate: {policies} policies on the validation split, {evaluated}, greedy, judged{kept}",
        f"decide: {after}; {_cycles(recipe)}",
    )


def _fine_tuning(recipe: Recipe) -> Iterator[str]:
    if (sft := recipe.sft) is None:
        return
    what = ["the train prompts' reference answers"] if sft.references else []
    what += [f"the conversations of {as_written(sft.path)}"] if sft.path is not None else []
    most = f", at most {sft.most:,}" if sft.most is not None else ""
    how = "every weight" if sft.lora is None else f"LoRA of rank {sft.lora.rank}"
    yield (
        f"fine-tune, once before the cycles: {' and '.join(what)}{most}, {sft.epochs:g} epoch(s), {how},"
        f" {sft.workers_per_run} worker(s)"
    )


def _merging(recipe: Recipe) -> Iterator[str]:
    if recipe.merge is not None:
        yield f"merge: the trained challengers into one more, by {recipe.merge.method}"


def _attacks(recipe: Recipe) -> tuple[str, ...]:
    team = recipe.red_team
    if team is None:
        return ()
    templates = f", and {team.attempts} templates each" if team.templates is not None else ""
    return (
        f"red team: up to {team.prompts:,} harmful prompts x {team.attempts} rewrites{templates} on {team.actors}"
        f" attacker(s), at most {team.max_tokens:,} tokens; what is not refused is asked again in the next cycle",
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
