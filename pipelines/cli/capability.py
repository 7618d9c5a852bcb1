"""`salus capability`: what a model can still do, by the recipe's questions or by tasks of the evaluation harness."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.options import DataFolder, Overrides, RecipeName, Seed, resolve
from pipelines.cli.console.output import answer, console, reporter, say
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe

if TYPE_CHECKING:
    from actors.engine.port import Engine
    from pipelines.measures.capability.harness_tasks import HarnessRequest

REPORT = "capability.json"


def register(app: typer.Typer) -> None:
    app.command(
        cls=FactsCommand, epilog="Example: salus capability llama-3.1-8b --tasks medqa_4options,pubmedqa --chat"
    )(capability)


def capability(
    recipe: RecipeName,
    model: Annotated[Path | None, typer.Option(help="A model folder; the recipe's deployed policy without it.")] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks of the evaluation harness, with commas; without it the recipe's questions."),
    ] = None,
    task_path: Annotated[Path | None, typer.Option(help="A folder of local task files (YAML) for --tasks.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions of each task.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask the tasks under the model's chat template.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where capability.json goes; runs/capability-NAME-sSEED without it.")
    ] = None,
    data: DataFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Measure what a model can: accuracy on multiple choice and perplexity of reference answers, or harness tasks.

    One engine in this process; a run measures the same for its own policies where its recipe has a section capability.
    """
    from pipelines.measures.capability.harness_tasks import HarnessRequest

    settings = resolve(recipe, overrides, seed, data, fetch=True)
    folder = out or Path("runs") / f"capability-{settings.name}-s{settings.seed}"
    if tasks is None:
        _by_recipe(settings, model, folder)
        return
    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    if not names:
        raise SalusError("--tasks names no task; give some, as --tasks medqa_4options,pubmedqa.")
    request = HarnessRequest(tasks=names, task_path=task_path, limit=limit, chat=chat, seed=settings.seed)
    _by_harness(settings, model, request, folder)


def _by_recipe(settings: Recipe, model: Path | None, folder: Path) -> None:
    from pipelines.alignment.capability import check_asked, measure_local
    from pipelines.report.summary_tables import capability_tables

    check_asked(settings)
    with reporter().live() as progress:
        policy = _policy(settings, model, progress)
        found = measure_local(settings, policy, lambda: _engine(settings, policy), progress)
    answer({"policy": policy.version, "figures": found, "file": folder / REPORT})
    _write(found.model_dump_json(indent=2), folder)
    console().print(capability_tables({policy.version: found}, "Capability: 95 % intervals"))
    say(f"{folder}: {REPORT}")


def _by_harness(settings: Recipe, model: Path | None, request: HarnessRequest, folder: Path) -> None:
    from pipelines.measures.capability.harness_tasks import find_tasks, run_tasks

    manager = find_tasks(request)
    with reporter().live() as progress:
        policy = _policy(settings, model, progress)
        result = run_tasks(_engine(settings, policy), policy.version, request, manager)
    answer({"policy": policy.version, "figures": result.figures, "file": folder / REPORT})
    _write(result.figures.model_dump_json(indent=2), folder)
    # Task names are not ours: no markup.
    console().print(result.table, markup=False, highlight=False, soft_wrap=True)
    for sentence in result.figures.left_out:
        say(sentence)
    say(f"{folder}: {REPORT}")


def _policy(settings: Recipe, model: Path | None, reporter: Reporter) -> PolicyRef:
    from actors.engine.tokenizer import check_asked_model
    from pipelines.runs.materials import gather_policy

    if model is None:
        policy = gather_policy(settings, reporter)
    else:
        check_asked_model(model)
        policy = PolicyRef(version=model.absolute().name, path=str(model.absolute()))
    settings.generate.engine.length(Path(policy.path), "generate.engine")
    return policy


def _engine(settings: Recipe, policy: PolicyRef) -> Engine:
    from actors.engine.vllm import VllmEngine
    from pipelines.cluster.demand import engine_demand
    from pipelines.cluster.plan import available, check, plan_of

    # It is in this process, wherever runs of the recipe are, and of this folder.
    model = settings.model.model_copy(update={"source": "folder", "path": policy.path})
    cluster = settings.cluster.model_copy(update={"address": None})
    here = settings.model_copy(update={"model": model, "cluster": cluster})
    check(plan_of(here, (engine_demand(here),)), available(here))
    return VllmEngine(settings.generate.engine, policy)


def _write(report: str, folder: Path) -> None:
    from actors.files.shards import write_text

    write_text(report, folder / REPORT)
