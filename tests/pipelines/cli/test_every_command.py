"""What every command offers: --quiet, --verbose, an example, and --json where it prints facts; exit codes; streams."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from pipelines.cli.console.commands import FactsCommand, SalusCommand
from pipelines.cli.console.exit_codes import MEANINGS, ExitCode
from pipelines.cli.console.output import answer, console, forget, progress_console, told
from pipelines.cli.main import app
from tests.pipelines.cli.every_command import commands
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import RunMaker
from tests.root import ROOT

# What these print is a document or a log by itself, or they serve until Ctrl-C.
NO_FACTS = {"cluster manifest", "cluster image", "cluster board", "logs", "publish", "serve"}
COMMANDS = commands()


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_offers_what_scripts_need(words: str) -> None:
    command = COMMANDS[words]
    options = {option for param in command.params for option in param.opts}
    assert isinstance(command, SalusCommand)
    assert {"--quiet", "--verbose"} <= options
    assert ("--json" in options) == isinstance(command, FactsCommand) == (words not in NO_FACTS)
    assert (command.epilog or "").startswith("Example")


def test_what_prints_no_facts_is_a_command() -> None:
    assert COMMANDS.keys() >= NO_FACTS


def typed(*arguments: str) -> tuple[Any, str]:
    """What a command printed as JSON, and what it wrote to stderr."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), result.stderr


def test_facts_are_one_json_document_on_stdout(published: RunFolder, tmp_path: Path) -> None:
    run, registry = str(published.root), str(tmp_path / "registry")
    status, said = typed("status", run)
    assert [each["cycle"] for each in status["cycles"]] == [1, 2] and said == ""
    assert typed("runs", "show", run)[0]["recipe"]["name"] == "demo"
    assert [each["name"] for each in typed("runs", "list", str(published.root.parent))[0]] == [published.root.name]
    assert typed("runs", "diff", run, run)[0]["differs"] is False
    assert typed("policy", "register", run, "--registry", registry)[0][1]["run_version"] == "c1-kto"
    assert len(typed("policy", "list", "--registry", registry)[0]["policies"]) == 3
    assert typed("policy", "promote", "demo-s7-c1", "--registry", registry)[0]["to"].startswith("demo-s7-c1-kto")
    assert typed("audit", registry)[0]["intact"] is True
    assert typed("key", "add", "ward", "--keys", str(tmp_path / "keys.jsonl"))[0]["role"] == "client"
    [key] = typed("key", "list", "--keys", str(tmp_path / "keys.jsonl"))[0]
    assert key["name"] == "ward" and "sha256" not in key
    assert typed("settings", "patience")[0][0]["name"] == "decide.patience"


def test_a_refusal_leaves_stdout_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no_such_run" in refused(capsys, "status", str(tmp_path / "no_such_run"), "--json")
    # The next command is told anew.
    assert not told().json


def test_removal_is_never_asked_for_in_json(
    made_run: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = made_run(tmp_path / "run")
    assert "add --yes" in refused(capsys, "runs", "gc", str(finished.root), "--json")
    assert finished.train_storage.is_dir()
    [removed] = typed("runs", "gc", str(finished.root), "--yes")[0]["removed"]
    assert removed["bytes"] > 0 and not finished.train_storage.exists()


def test_numbers_and_texts_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    told().json = True
    try:
        answer({"share": float("nan"), "text": "\x1b[2J é", "folder": Path("runs")})
    finally:
        forget()
    printed = capsys.readouterr().out
    assert printed.isascii() and "\x1b" not in printed
    assert json.loads(printed) == {"share": None, "text": "\x1b[2J é", "folder": "runs"}


def test_results_and_progress_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("result")
    progress_console().print("progress")
    told().quiet = True
    try:
        progress_console().print("more")
    finally:
        forget()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("result\n", "progress\n")


def test_a_pipe_gets_tables_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table

    monkeypatch.setenv("COLUMNS", "20")
    table = Table("a", "b")
    table.add_row("x" * 300, "y " * 200)
    console().print(table)
    console().print("z " * 400)
    lines = capsys.readouterr().out.splitlines()
    assert "x" * 300 in lines[3] and "y " * 199 in lines[3]
    assert ("z " * 400).strip() in lines[-1]


def test_the_version_is_the_distributions() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout == f"salus {metadata.version('salus')}\n"


@pytest.mark.parametrize("page", ["README.md", "pipelines/cli/README.md"])
def test_exit_codes_are_the_same_table_everywhere(page: str) -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    table = {ExitCode(int(code)): meaning for code, meaning in rows if int(code) in list(ExitCode)}
    assert table == MEANINGS
    shown = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert all(f"{code.value}: {meaning.replace('`', '')}" in shown for code, meaning in MEANINGS.items())
