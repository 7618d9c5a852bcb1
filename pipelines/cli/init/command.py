"""`salus init`: writes a commented recipe for one's own model, data and judge, and says which commands come next."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.errors import SalusError
from actors.files.shards import write_text
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.output import answer, say

if TYPE_CHECKING:
    from pipelines.cli.init.draft import ToldJudge

# Where the key of a server elsewhere is read from.
_KEY = "OPENAI_API_KEY"
_JUDGE = re.compile(r"(?:(?P<regimen>EXT|LMA)=)?(?P<place>.+)")


def register(app: typer.Typer) -> None:
    app.command(
        cls=FactsCommand, epilog="Example: salus init --model models/my-assistant --data prompts.jsonl --judge RULES"
    )(init)


def init(
    model: Annotated[str | None, typer.Option(metavar="DIR|HUB_ID", help="The deployed model.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE|DIR", help="The prompts: JSONL, CSV or Parquet.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="RULES|LMA=DIR|EXT=DIR|URL",
            help="Who labels answers: refusal rules, a model folder or hub id as it is (LMA) or fine-tuned as a judge"
            " (EXT), or an OpenAI-compatible server's address, as https://HOST/v1.",
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The judge's model, where --judge is a server.")
    ] = None,
    judge_key: Annotated[
        str | None,
        typer.Option(
            metavar="VARIABLE",
            help="The environment variable with the server's key (OPENAI_API_KEY; a server on this machine: none).",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The recipe's name (that of the model).")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The file to write (NAME.yaml).")] = None,
    prompt_column: Annotated[
        str | None, typer.Option(help="The column with the prompt, where the file does not tell.")
    ] = None,
    level_column: Annotated[
        str | None, typer.Option(help="The column with the harm level, where the file does not tell.")
    ] = None,
    level: Annotated[int | None, typer.Option(min=0, max=3, help="The harm level of every prompt.")] = None,
) -> None:
    """Write a commented recipe for your own model, data and judge; on a terminal it asks for what is not given.

    It finds the prompt's and the level's column in the data, and reads the lengths from the model's config.
    """
    from pipelines.cli.init.columns import find_columns
    from pipelines.cli.init.draft import check_name, recipe_text
    from pipelines.config.load import load_recipe

    model = model or _ask("The deployed model: a folder or a hub id (--model)")
    data = data or Path(_ask("The data file: JSONL, CSV or Parquet (--data)"))
    judge = judge or _ask("The judge: RULES, LMA=DIR, EXT=DIR, or a server's address (--judge)")
    judged, said = _judge(judge, judge_model, judge_key)
    name = name or (out.stem if out is not None else re.sub(r"[^a-z0-9._-]+", "-", Path(model).name.casefold()))
    check_name(name)
    out = out or Path(f"{name}.yaml")
    if out.exists():
        raise SalusError(f"{out} exists already; name another file with --out, or remove it.")
    columns = find_columns(data.expanduser(), _ask, prompt_column, level_column, level)
    text = recipe_text(name, model, data, columns, judged)
    try:
        write_text(text, out)
    except OSError as error:
        raise SalusError(f"{out} cannot be written ({error.strerror}); name another file with --out.") from error
    # It would be a fault of ours: better said now than by the next command.
    load_recipe(str(out))
    shown = shlex.quote(str(out))
    lines = [
        *said,
        f"Wrote {out}: the prompt is column {columns['prompt']!r},"
        + (
            f" the level column {columns['level']!r}."
            if "level" in columns
            else f" every level {columns['fixed_level']}."
        ),
        "Next:",
        f"  salus data inspect {shown}",
        f"  salus judge calibrate {shown} --labels LABELS   # its file becomes judge.calibration",
        f"  salus plan {shown}    # with --accept-unreliable-judge, where you have no labels",
        f"  salus align {shown}   # likewise",
    ]
    answer({"file": out, "columns": columns, "remarks": said})
    for line in lines:
        say(line)


def _judge(told: str, model: str | None, key: str | None) -> tuple[ToldJudge, tuple[str, ...]]:
    """The judge, and what there is to say of it."""
    from pipelines.cli.init.draft import ToldJudge

    if told == "RULES":
        return ToldJudge("RULES"), ()
    if re.match(r"https?://", told):
        return _served(told, model or _ask("The judge's model at the server (--judge-model)"), key)
    found = _JUDGE.fullmatch(told)
    if found is None or told == "REMOTE":
        raise SalusError(
            f"--judge {told!r} is none of RULES, LMA=DIR, EXT=DIR and a server's address as https://HOST/v1; give one."
        )
    return ToldJudge(found["regimen"] or "LMA", found["place"]), ()


def _served(url: str, model: str, key: str | None) -> tuple[ToldJudge, tuple[str, ...]]:
    from pipelines.cli.init.draft import ToldJudge
    from pipelines.cli.init.server import try_server

    if key is None and re.match(r"https?://(localhost|127\.|\[::1\])", url) is None:
        key = _KEY
    if key is not None and not os.environ.get(key):
        said = f"The judge's server was not asked: {key} is not set. Without log-probabilities set reply: word."
        return ToldJudge("REMOTE", url, model, key), (said,)
    tried = try_server(url, model, key)
    return ToldJudge("REMOTE", url, model, key, tried.reply), (tried.sentence,)


def _ask(words: str, choices: tuple[str, ...] = ()) -> str:
    """The user's answer, on a terminal.

    Raises:
        SalusError: there is none to ask on.
    """
    if not sys.stdin.isatty():
        raise SalusError(f"{words}? Say so with the option: this is no terminal to ask on.".replace("??", "?"))
    told = ""
    while not told or (choices and told not in choices):
        told = typer.prompt(words).strip()
    return told
