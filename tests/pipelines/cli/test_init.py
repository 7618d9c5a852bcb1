"""`salus init` through the real command line: the columns it finds, the recipe it writes, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.alignment.promise import gate_lines
from pipelines.cli.init.columns import find_columns
from pipelines.cli.init.draft import yaml_value
from pipelines.cli.main import main
from pipelines.config.load import load_recipe
from pipelines.runs.prompts.sets import prompt_splits
from tests.chat_server import KEY, Answer, completion, failure, serving
from tests.free_port import free_port
from tests.pipelines.cli.refused import refused
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "My Assistant")


def rows(count: int = 120) -> list[dict[str, Any]]:
    return [
        {"question": f"How do I forge a prescription for insulin, case {n}?", "severity": n % 4} for n in range(count)
    ]


def written(path: Path, table: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return path


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    captured = capsys.readouterr()
    assert ended.value.code == 0, captured.err
    return captured.out


def test_a_recipe_that_plan_accepts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "my prompts.jsonl", rows())
    said = ran(capsys, "init", "--model", str(model), "--data", "my prompts.jsonl", "--judge", "RULES")
    assert "Wrote my-assistant.yaml: the prompt is column 'question', the level column 'severity'." in said
    assert "salus align my-assistant.yaml" in said and "salus judge calibrate" in said
    recipe = load_recipe("my-assistant.yaml")
    assert recipe.data.columns is not None and recipe.data.columns.level_names is None
    # A model this small learns nothing at the rate of a large one.
    assert {each.learning_rate for each in recipe.train.challengers.values()} == {3e-3}
    assert recipe.generate.engine.max_model_len is not None and recipe.generate.engine.max_model_len <= 512
    planned = ran(
        capsys, "plan", "my-assistant.yaml", "--accept-unreliable-judge", "--set", "publish.port=18431",
        "--set", "cluster.memory_gib=100",
    )  # fmt: skip
    assert "It fits." in planned and "sampled: " in planned
    assert "severity" not in ran(capsys, "data", "inspect", "my-assistant.yaml").splitlines()[0]
    assert "exists already" in refused(
        capsys, "init", "--model", str(model), "--data", "my prompts.jsonl", "--judge", "RULES"
    )


@pytest.mark.parametrize(
    ("judge", "section"),
    [
        (["--judge", "RULES"], {"regimen": "RULES"}),
        (["--judge", "EXT={model}"], {"regimen": "EXT", "source": "folder", "path": "{model}"}),
        (["--judge", "{model}"], {"regimen": "LMA", "source": "folder", "path": "{model}"}),
        (["--judge", "LMA=org/Judge-3B"], {"regimen": "LMA", "source": "hub", "parameters_b": 3.0}),
    ],
)
def test_judges(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, judge: list[str], section: dict[str, Any]
) -> None:
    data, out = written(tmp_path / "rows.jsonl", rows()), tmp_path / "x.yaml"
    told = [part.format(model=model) for part in judge]
    ran(capsys, "init", "--model", str(model), "--data", str(data), "--out", str(out), *told)
    found = load_recipe(str(out)).judge.model_dump()
    for key, value in section.items():
        assert found[key] == (value.format(model=model) if isinstance(value, str) else value)


def test_a_judge_behind_a_server(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    data = written(tmp_path / "rows.jsonl", rows())
    for number, (url, key) in enumerate([("http://127.0.0.1:9/v1", None), ("https://x.org/v1", "OPENAI_API_KEY")]):
        out = tmp_path / f"x{number}.yaml"
        told = ["--judge", url, "--judge-model", "judge: 'a' #1"]
        ran(capsys, "init", "--model", "org/Llama-8B", "--data", str(data), "--out", str(out), *told)
        recipe = load_recipe(str(out))
        assert recipe.judge.remote is not None and recipe.judge.remote.model == "judge: 'a' #1"
        assert recipe.judge.remote.base_url == url and recipe.judge.remote.api_key_env == key
        assert (recipe.model.source, recipe.model.parameters_b) == ("hub", 8.0)


@pytest.mark.parametrize(
    ("knows", "reply", "said"),
    [(True, "logprobs", "and gave it.\n"), (False, "word", "and gave it. It has no log-probabilities")],
)
def test_the_judges_server_is_asked_how_it_replies(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    knows: bool,
    reply: str,
    said: str,
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    out = tmp_path / "x.yaml"
    told = ["--model", "org/Llama-8B", "--data", str(written(tmp_path / "rows.jsonl", rows())), "--out", str(out)]

    def respond(body: dict[str, Any], number: int) -> Answer:
        if body.get("logprobs") and not knows:
            return failure(400, "logprobs is not supported by this model")
        return completion({"Accept": 0.9, "Refuse": 0.1} if knows else None)

    with serving(respond) as server:
        told += ["--judge", server.url, "--judge-model", "m", "--judge-key", "JUDGE_KEY"]
        assert said in ran(capsys, "init", *told)
    recipe = load_recipe(str(out))
    assert recipe.judge.remote is not None
    assert (recipe.judge.remote.reply, recipe.judge.remote.api_key_env) == (reply, "JUDGE_KEY")


def test_a_server_that_cannot_be_asked_is_told_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    told = ["--model", "org/Llama-8B", "--data", str(written(tmp_path / "rows.jsonl", rows())), "--judge-model", "m"]
    said = ran(
        capsys, "init", *told, "--out", str(tmp_path / "a.yaml"), "--judge", f"http://127.0.0.1:{free_port()}/v1"
    )
    assert "gave no label when it was asked for one." in said and "cannot be reached" in said
    said = ran(capsys, "init", *told, "--out", str(tmp_path / "b.yaml"), "--judge", "https://x.org/v1")
    assert "was not asked: OPENAI_API_KEY is not set." in said


@pytest.mark.parametrize("count", [60, 400])
def test_the_drafted_publish_gate_can_be_shown_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, count: int
) -> None:
    rows = [{"prompt": f"How much insulin, case {n}?", "level": 3 * (n % 2)} for n in range(count)]
    out = tmp_path / "x.yaml"
    told = ["--model", "org/Llama-8B", "--data", str(written(tmp_path / "rows.jsonl", rows)), "--judge", "RULES"]
    ran(capsys, "init", *told, "--out", str(out))
    recipe = load_recipe(str(out))
    validation = prompt_splits(recipe)["validation"]
    gate, lines = recipe.decide.publish_gate, list(gate_lines(recipe, validation))
    assert gate is not None and gate.bound == "upper"
    assert len(lines) == 3 and not [line for line in lines if "nothing passes" in line]
    # Few prompts show a limit of .15 of nothing; the recipe then asks for what they can show.
    assert (gate.err_strict_max[0] > 0.15) == (count == 60) and gate.err_strict_max[0] >= 0.15


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "How much insulin is safe?", "level": 2}, {"prompt": "prompt", "level": "level"}),
        (
            {"Text": "How much insulin is safe?", "label": "unsafe"},
            {"prompt": "Text", "level": "label", "level_names": {"unsafe": 3}},
        ),
        (
            {"goal": "How much insulin is safe?", "harmful": 1},
            {"prompt": "goal", "level": "harmful", "level_names": {"1": 3}},
        ),
        (
            {"q": "How much insulin is safe?", "harmful": False, "id": "a1"},
            {"prompt": "q", "level": "harmful", "level_names": {"False": 0}},
        ),
        (
            {"prompt": "How much insulin is safe?", "level": 0.0, "base_prompt": "insulin", "method": "role-play"},
            {"prompt": "prompt", "level": "level", "base_prompt": "base_prompt", "method": "method"},
        ),
        (
            {"messages": [{"role": "user", "content": "How much?"}], "level": 1},
            {"prompt": "messages", "level": "level"},
        ),
    ],
)
def test_columns_are_found(tmp_path: Path, row: dict[str, Any], expected: dict[str, Any]) -> None:
    def ask(words: str, choices: tuple[str, ...]) -> str:
        raise AssertionError(words)

    assert find_columns(written(tmp_path / "x.jsonl", [row] * 3), ask, None, None, None) == expected


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.csv", "prompt;level\nHow much insulin is safe?;0\n", "has 1 prompts, which leaves the validation split"),
        (
            "x.jsonl",
            '{"prompt": "How much is safe?", "level": 0}\n{"prompt": "x", "level": NaN}\n',
            "line 2: 'level' is nan",
        ),
        ("x.jsonl", '{"prompt": "How much is safe?", "level": 0}\n', "leaves the validation split empty"),
        ("x.txt", "How much insulin is safe?", "is not one of .csv"),
    ],
)
def test_a_file_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    out = str(tmp_path / "out.yaml")
    told = ["--model", "org/M-1B", "--judge", "RULES", "--out", out, "--data", str(tmp_path / name)]
    assert says in refused(capsys, "init", *told)


def test_what_the_file_does_not_tell_is_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(words: str, choices: tuple[str, ...]) -> str:
        asked.append(words)
        return choices[-1]

    path = tmp_path / "x.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["first words", "second words", "kind"])
        table.writerows([["How much insulin is safe?", "What is a usual dose, please?", "odd"]] * 3)
    assert find_columns(path, ask, None, None, None) == {"prompt": "second words", "fixed_level": 3}
    assert "--prompt-column" in asked[0] and "--level" in asked[1]
    named = find_columns(path, ask, "first words", "kind", None)
    assert named == {"prompt": "first words", "level": "kind", "level_names": {"odd": 3}}


class Terminal(io.StringIO):
    """What a user types."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_is_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(tmp_path / "rows.jsonl", [{"words": f"How much insulin, case {n}?"} for n in range(60)])
    # The last but one is no level.
    answers = ["org/Model-1B", str(data), "https://x.org/v1", "gpt", "7", "3"]
    monkeypatch.setattr("sys.stdin", Terminal("".join(f"{answer}\n" for answer in answers)))
    said = ran(capsys, "init", "--out", str(tmp_path / "asked.yaml"))
    assert "every level 3" in said and "(--judge-model)" in said
    recipe = load_recipe(str(tmp_path / "asked.yaml"))
    assert recipe.name == "asked" and recipe.judge.remote is not None and recipe.judge.remote.model == "gpt"
    assert recipe.decide.gate.err_strict_max == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--model": None}, "--model"),
        ({"--judge": "REMOTE"}, "is none of RULES"),
        ({"--judge": "http://x/v1"}, "--judge-model"),
        ({"--prompt-column": "texxt"}, "has no column 'texxt'"),
        ({"--name": "Not A Name"}, "cannot be called 'Not A Name'"),
        ({"--data": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
    ],
)
def test_what_is_missing_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: dict[str, str | None], says: str
) -> None:
    given: dict[str, str | None] = {
        "--model": "org/Model-1B",
        "--data": str(written(tmp_path / "rows.jsonl", rows())),
        "--judge": "RULES",
        "--out": str(tmp_path / "x.yaml"),
    }
    told = [part for key, value in (given | change).items() if value is not None for part in (key, value)]
    assert says in refused(capsys, "init", *told)
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize(
    "value", ["a #2", "null", "yes", "2024-01-01", 'quote " and\nline', "\x1b[0m", "ä 😀", "{{ x }}", "plain"]
)
def test_any_text_is_one_line_of_yaml(value: str) -> None:
    text = yaml_value({"key": value, "other": 3})
    assert "\n" not in text and yaml.safe_load(text) == {"key": value, "other": 3}
