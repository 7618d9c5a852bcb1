"""`salus data inspect` through the real command line: what it prints, and what it refuses in one sentence."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from actors.contract.records import prompt_table
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cli.console.output import SafeConsole
from pipelines.cli.data import tables
from pipelines.cli.main import main
from pipelines.config.load import load_recipe
from pipelines.data.inspection import inspect_splits
from pipelines.runs.prompts.sets import write_prompts
from tests.rows import prompt
from tests.tiny_model import make_tiny_model


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["data", "inspect", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture
def or_bench(tmp_path: Path) -> Path:
    (tmp_path / "or-bench-hard-1k.csv").write_text(
        "prompt,category\n" + "".join(f"How do I kill process {i}?,violence\n" for i in range(60))
    )
    (tmp_path / "or-bench-toxic.csv").write_text("prompt,category\n[red]harm[/red] [/],x\n")
    return tmp_path


def test_a_new_source_in_styles(capsys: pytest.CaptureFixture[str], or_bench: Path) -> None:
    styles = "data.styles={train: [emergency], held_out: [table]}"
    code, out, _ = ran(capsys, "or_bench", "--path", str(or_bench), "--set", styles)
    assert code == 0
    assert all(word in out for word in ("level", "method", "principle", "style", "emergency", "table", "validation"))
    assert "0 of them repeat" in out


def test_markup_in_a_prompt_is_shown_as_it_stands(capsys: pytest.CaptureFixture[str], or_bench: Path) -> None:
    _, out, _ = ran(capsys, "or_bench", "--path", str(or_bench / "or-bench-toxic.csv"))
    assert "[red]harm[/red] [/]" in out


def test_a_data_set_that_a_run_refuses_is_refused_alike(
    capsys: pytest.CaptureFixture[str], or_bench: Path, tmp_path: Path
) -> None:
    one_row = or_bench / "or-bench-toxic.csv"
    code, out, said = ran(capsys, "or_bench", "--path", str(one_row))
    assert code == 2 and "1 prompts" in out and "split of data source 'or_bench' is empty; give more rows" in said
    recipe = load_recipe("demo", ["data.source=or_bench", f"data.path={one_row}", "judge.truth=null"])
    with pytest.raises(SalusError) as refused:
        write_prompts(recipe, RunFolder(tmp_path / "run"))
    assert " ".join(said.split()) == f"salus: {refused.value.sentence}"


def test_a_terminal_is_not_steered() -> None:
    rows = [prompt(0, text="\x1b]0;title\x07 [bold]x[/bold]").model_copy(update={"style": "[link=x]\x1b[31m"})]
    out = io.StringIO()
    console = SafeConsole(file=out, width=200)
    for table in tables("[b]", inspect_splits({"train": prompt_table(rows).to_batches()})):
        console.print(table)
    assert "\x1b" not in out.getvalue() and "\\x1b[31m" in out.getvalue()
    assert "[bold]x[/bold]" in out.getvalue() and "[link=x]" in out.getvalue()


def test_leaks_are_listed() -> None:
    rows = prompt_table([prompt(0)]).to_batches()
    out = io.StringIO()
    for table in tables("x", inspect_splits({"train": rows, "test": rows})):
        Console(file=out, width=120).print(table)
    assert "train and test" in out.getvalue() and "base 0" in out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("orbench",), "data inspect: data.source: must be"),
        (("or_bench", "--set", "data.styles.train=[emergancy]"), "did you mean 'emergency'"),
        (("or_bench", "--set", "data.or_bench.toxic_levle=2"), "unknown key 'data.or_bench.toxic_levle'"),
        (("tabular",), "needs path and columns"),
        (("egida", "--path", "/nowhere/egida.json"), "/nowhere/egida.json does not exist"),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], or_bench: Path, arguments: tuple[str, ...], says: str
) -> None:
    given = arguments if "--path" in arguments or arguments[0] != "or_bench" else (*arguments, "--path", str(or_bench))
    code, _, err = ran(capsys, *given)
    assert code == 2
    assert err.startswith("salus: ") and err.count("\n") == 1
    assert says in err


def test_a_bad_row_names_file_and_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "x"}) + "\n{bad\n")
    columns = "data.columns={prompt: text, fixed_level: 0}"
    code, _, err = ran(capsys, "tabular", "--path", str(path), "--set", columns)
    assert code == 2
    assert "rows.jsonl, line 2: not valid JSON" in err


def test_a_recipe_is_held_against_its_model_and_its_thresholds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model, data, path = make_tiny_model(tmp_path / "model"), tmp_path / "rows.jsonl", tmp_path / "own.yaml"
    rows = [{"text": f"How much insulin, case {n}?", "harm": n % 2} for n in range(80)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path.write_text(
        f"extends: demo\nname: own\nmodel: {{source: folder, path: {model}}}\ndecide: {{gate: {{min_n: 2}}}}\n"
        "publish: {enabled: false}\n"
        f"judge: {{truth: null}}\ndata: {{source: tabular, path: {data}, columns: {{prompt: text, level: harm}}}}\n"
    )
    code, out, err = ran(capsys, str(path))
    assert code == 0, err
    assert "80 prompts, 0 of them repeat" in out and "sampled: " in out and "prompt tokens" in " ".join(out.split())
    changes = ("--set", "generate.engine.max_model_len=30", "--set", "decide.gate.min_n=70")
    code, out, err = ran(capsys, str(path), *changes)
    assert code == 2 and "80 prompts" in out
    assert err.startswith("salus: The data of recipe own has ") and err.count("prompts are too long: ") == 4
    assert "decide.gate.min_n asks for 70" in err


def test_it_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran(capsys, "--help")
    assert code == 0
    assert "Example: salus data inspect" in out
