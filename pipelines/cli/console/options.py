"""The options that every recipe command takes, and what they come to."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.console.output import notice
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.store.place import Place, place_of

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, or the path of a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a setting, as train.challengers.kto.beta=0.2; may be repeated."
    ),
]
Seed = Annotated[int | None, typer.Option(help="The seed of every random choice (the recipe's seed).")]
DataFolder = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR|ADDRESS", help="Where the data is (the recipe's data.path)."),
]
RunFolderOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="DIR|ADDRESS",
        help="The run folder, or an address as s3://BUCKET/RUN; runs/NAME-sSEED without it.",
    ),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or the address of a run.")]
AnswerSets = Annotated[
    list[str] | None,
    typer.Option(
        "--prompts", metavar="SET", help="Only answers to train, validation, test, probe or published prompts."
    ),
]
AnswerPolicies = Annotated[
    list[str] | None,
    typer.Option("--policy", metavar="VERSION", help="Only answers of this policy; may be repeated."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be uploaded, and ask no server.")]
AcceptUnreliable = Annotated[
    bool,
    typer.Option(
        "--accept-unreliable-judge",
        help="Let a judge select policies that was not measured or falls short (judge.accept_unreliable); recorded.",
    ),
]


def run_place(recipe: Recipe, run: str | None) -> Place:
    """Where the run of a recipe is: as the option says, or the default place."""
    from pipelines.runs.open import run_root

    return run_root(recipe, place_of(run) if run is not None else None)


def wait_for_ctrl_c() -> None:
    """Return when the user presses Ctrl-C, which is how serving ends."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


def resolve(
    recipe: str,
    overrides: list[str] | None,
    seed: int | None = None,
    data: str | None = None,
    accept_unreliable: bool = False,
    fetch: bool = False,
) -> Recipe:
    """The recipe with everything given on the command line applied; with `fetch`, what it names by address is here."""
    changes = list(overrides or [])
    if seed is not None:
        changes.append(f"seed={seed}")
    if data is not None:
        changes.append(f"data.path={data}")
    if accept_unreliable:
        changes.append("judge.accept_unreliable=true")
    loaded = load_recipe(recipe, changes)
    if not fetch:
        return loaded
    # Imported late, as what reaches stores takes a while to load.
    from pipelines.runs.inputs import fetch_inputs

    return fetch_inputs(loaded, notice)


def local_input(text: str, option: str) -> Path:
    """A file or folder that an option names by path or address; fetched first in the latter case."""
    from pipelines.runs.inputs import fetch_input

    return fetch_input(text, option, notice)
