"""The reference, made from the code: settings, commands, files of a run folder, HTTP routes, metrics."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import typer
from pydantic import BaseModel

import actors
from actors.contract.run_folder import RunFolder
from actors.serve.gateway.caller import public_routes
from pipelines.cli.console.exit_codes import MEANINGS
from pipelines.cli.main import app
from pipelines.config.catalog import SettingLine, setting_lines
from pipelines.config.recipe import Recipe
from pipelines.report.metrics.run import METRICS
from pipelines.serving.settings import ServeSettings
from pipelines.study.config import StudyConfig
from pipelines.study.fleet.config import FleetConfig

_RUN = Path("/RUN")
# What a path takes, as an example of it.
_ARGUMENTS = {
    "cycle": 1,
    "split": "validation",
    "version": "VERSION",
    "judge": "JUDGE",
    "kind": "unpaired",
    "name": "dpo",
    "role": "policy",
}
# Members of `RunFolder` that name no place of their own.
_NO_PLACES = {
    "root",
    "judged",
    "rated",
    "timed_cycles",
    "challenger",
    "find_challenger",
    "fine_tuned",
    "outside",
    "unsummed",
}
_METRIC_CLASSES = {"Counter", "Gauge", "Histogram"}


class EndpointMetric(NamedTuple):
    """A metric of the endpoint, as its source declares it."""

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]


def settings_page() -> str:
    """Every setting, in a table for each section."""
    parts = [
        "# Settings\n",
        "`--set NAME=VALUE` changes one, and `salus settings WORD` finds those that a word is about. This page is made"
        " from the code.\n",
    ]
    kinds: dict[str, type[BaseModel]] = {
        "A recipe": Recipe,
        "A study": StudyConfig,
        "A fleet": FleetConfig,
        "`salus serve`": ServeSettings,
    }
    known: set[tuple[str, str]] = set()
    for title, kind in kinds.items():
        parts.append(f"## {title}\n")
        lines = [line for line in setting_lines(kind) if (line.name, line.meaning) not in known]
        known |= {(line.name, line.meaning) for line in lines}
        for section, group in groupby(lines, key=lambda line: line.name.split(".")[0] if "." in line.name else ""):
            parts += [
                f"### {title.removeprefix('A ')}: {section}\n" if section else "",
                *_settings_table(list(group)),
                "",
            ]
    return "\n".join(parts)


def _settings_table(lines: list[SettingLine]) -> list[str]:
    rows = [
        (f"`{line.name}`", f"`{line.values}`", f"`{line.default}`" if line.default else "", line.meaning)
        for line in lines
    ]
    return table(("setting", "values", "default", "meaning"), rows)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of the typer app, by its words, as "runs list"."""

    def below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(words), command
        for name, each in (inner or {}).items():
            yield from below(each, (*words, name))

    yield from below(typer.main.get_command(app), ())


def commands_page() -> str:
    """Every command with its help, arguments, options and example."""
    parts = ["# Commands\n", "This page is made from the code. `salus COMMAND --help` says the same.\n"]
    for words, command in commands():
        parts += [f"## salus {words}\n", inspect.cleandoc(command.help or ""), ""]
        rows = [(f"`{_declared(each)}`", _cell(each)) for each in command.params if each.name != "help"]
        parts += [*table(("argument or option", "meaning"), rows), ""]
        if command.epilog:
            parts += [command.epilog.replace("Example: ", "Example: `").replace("Examples: ", "Examples: `") + "`", ""]
    parts += ["## Exit codes\n", *table(("exit code", "meaning"), [(str(int(k)), v) for k, v in MEANINGS.items()])]
    return "\n".join(parts)


def _declared(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    flag = getattr(param, "is_flag", False)
    return ", ".join(param.opts) + ("" if flag else f" {param.metavar or param.name.upper()}")


def _cell(param: Any) -> str:
    said = param.help or ""
    return f"{said} May be repeated." if getattr(param, "multiple", False) and "repeated" not in said else said


def run_folder_page() -> str:
    """Every file and folder of a run, from `RunFolder`."""
    folder = RunFolder(_RUN)
    rows = []
    for name, member in inspect.getmembers_static(RunFolder):
        if name.startswith("_") or name in _NO_PLACES:
            continue
        if isinstance(member, property):
            path, doc = getattr(folder, name), inspect.getdoc(member)
        else:
            wanted = list(inspect.signature(member).parameters)[1:]
            path, doc = getattr(folder, name)(*(_ARGUMENTS[each] for each in wanted)), inspect.getdoc(member)
        rows.append((f"`{Path(path).relative_to(_RUN)}`", doc or name.replace("_", " ")))
    intro = (
        "A run folder holds all that a run made. `cycles/01` is the first cycle's folder, and VERSION a policy as"
        " `c1-dpo`. `validation` is one of the splits. This page is made from the code."
    )
    return "\n".join(["# The run folder\n", f"{intro}\n", *table(("file or folder", "what it holds"), sorted(rows))])


def routes_page() -> str:
    """Every route of the endpoint, with its methods and who may ask."""
    rows = [
        (f"`{route.template}`", ", ".join(sorted(route.methods)), route.role or "everyone")
        for route in sorted(public_routes(), key=lambda each: each.template)
    ]
    intro = (
        "What is not listed is not there. A reviewer may also do what a client may, and an admin may do everything."
        " `/openapi.json` describes the requests of a running endpoint. This page is made from the code."
    )
    return "\n".join(["# HTTP routes\n", f"{intro}\n", *table(("route", "methods", "asked by"), rows)])


def endpoint_metrics() -> list[EndpointMetric]:
    """The metrics of the endpoint, as the files below `actors/serve` declare them, by name."""
    root = Path(actors.__file__).parent / "serve"
    found = {}
    for file in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (metric := _metric(node)) is not None:
                found[metric.name] = metric
    return [found[name] for name in sorted(found)]


def _metric(node: ast.Call) -> EndpointMetric | None:
    called = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
    given = [*node.args, *(word.value for word in node.keywords if word.arg == "tag_keys")]
    if called not in _METRIC_CLASSES or len(given) < 2 or not isinstance(given[0], ast.Constant):
        return None
    meaning = ast.literal_eval(given[1]) if isinstance(given[1], ast.Constant) else ""
    labels = next((ast.literal_eval(each) for each in given[2:] if isinstance(each, ast.List | ast.Tuple)), ())
    return EndpointMetric(str(given[0].value), called.lower(), str(meaning), tuple(map(str, labels)))


def metrics_page() -> str:
    """Every metric of a run and of the endpoint."""
    run = [
        (f"`{kind.exported(name)}`", kind.kind, kind.meaning, ", ".join(("run", *kind.tags)))
        for name, kind in METRICS.items()
    ]
    endpoint = [(f"`{each.name}`", each.kind, each.meaning, ", ".join(each.labels)) for each in endpoint_metrics()]
    head = ("metric", "kind", "meaning", "labels")
    return "\n".join(
        [
            "# Metrics\n",
            "`salus cluster board` prints a Grafana board of them. This page is made from the code.\n",
            "## Of a run\n",
            "Ray's agent exports them to Prometheus.\n",
            *table(head, run),
            "\n## Of the endpoint\n",
            "`/metrics` has them. Prometheus adds `_total` to a counter's name.\n",
            *table(head, endpoint),
        ]
    )


def python_page() -> str:
    """What a program imports; mkdocstrings reads it from the source."""
    members = "\n".join(f"::: pipelines.{name}\n" for name in ("load_recipe", "align", "read_summary"))
    example = 'from pipelines import align, load_recipe\n\nsummary = align(load_recipe("demo"))'
    return f"# Python\n\n```python\n{example}\n```\n\n{members}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a Markdown table; nothing of a cell ends it."""
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(_in_cell(cell) for cell in line)} |" for line in lines]


def _in_cell(text: str) -> str:
    text = " ".join(text.split())
    if text.startswith("`"):
        # Python-Markdown takes no bar inside code for the end of a cell, and shows a backslash there.
        return text
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "run-folder.md": run_folder_page,
    "routes.md": routes_page,
    "metrics.md": metrics_page,
    "python.md": python_page,
}
