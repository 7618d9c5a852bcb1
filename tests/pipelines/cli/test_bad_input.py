"""Bad input through the real command line: one sentence that says what, where and how to mend it; exit code 2."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from actors.judges.regimens import REGIMENS
from pipelines.cli.main import main
from pipelines.report.tracking import port as trackers
from tests.model_cases import families, needs_cases
from tests.pipelines.cli.refused import refused
from tests.tiny_model import make_tiny_model

*OTHERS, LAST = REGIMENS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def small(tmp_path: Path, model: Path, rows: list[str]) -> list[str]:
    """An align command on a tabular data file, with nothing to serve."""
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    settings = {
        "model.source": "folder",
        "model.path": str(model),
        "judge.regimen": "RULES",
        "judge.truth": "null",
        "judge.accept_unreliable": "true",
        "data.source": "tabular",
        "data.path": str(data),
        "data.columns": "{prompt: text, level: harm}",
        "publish.enabled": "false",
    }
    command = ["align", "demo", "--run", str(tmp_path / "run")]
    return command + [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


ROW = json.dumps({"text": "how much insulin", "harm": 0})


def test_an_unknown_recipe_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no recipe 'dmeo', did you mean 'demo'" in refused(capsys, "plan", "dmeo")


def test_an_unknown_key_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    words = refused(capsys, "plan", "demo", "--set", "train.challengers.kto.betta=0.2")
    assert "unknown key 'train.challengers.kto.betta', did you mean 'beta'" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("generate.sampling.k=0", "generate.sampling.k: must be at least 1 (given 0)"),
        (
            "judge.regimen=GPT",
            f"judge.regimen: must be {', '.join(map(repr, OTHERS))} or {LAST!r} (given 'GPT')",
        ),
        ("model.source=folder", "model: source 'folder' needs path"),
        ("generate.sampling.max_tokens=500", "leaves no room for a prompt"),
        ("train", "is not of the form section.key=value"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(capsys: pytest.CaptureFixture[str], change: str, words: str) -> None:
    assert words in refused(capsys, "plan", "demo", "--set", change)


def test_a_missing_model_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = refused(capsys, *small(tmp_path, tmp_path / "nowhere", [ROW]))
    assert f"{tmp_path / 'nowhere'} does not exist" in words


def test_a_model_without_chat_template(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    words = refused(capsys, *small(tmp_path, folder, [ROW]))
    assert "has no chat template" in words


def test_an_adapter_in_place_of_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "x", "modules_to_save": ["lm_head"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert "modules_to_save" in refused(capsys, *small(tmp_path, folder, [ROW]))


@pytest.mark.parametrize(
    ("bad", "words"),
    [("{not json", "line 2"), (json.dumps({"text": "", "harm": 0}), "line 2"), (json.dumps({"text": "x"}), "harm")],
)
def test_a_malformed_row_names_file_and_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, bad: str, words: str
) -> None:
    sentence = refused(capsys, *small(tmp_path, model, [ROW, bad]))
    assert "rows.jsonl" in sentence
    assert words in sentence


def test_an_empty_data_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    assert "rows.jsonl" in refused(capsys, *small(tmp_path, model, []))


def test_a_port_in_use_is_found_before_anything_is_built(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = str(tmp_path / "run")
        words = refused(capsys, "align", "demo", "--run", run, "--set", f"publish.port={port}")
    assert f"127.0.0.1:{port}" in words


@pytest.mark.parametrize("command", ["plan", "align", "train"])
def test_a_tracker_that_is_not_installed_is_found_before_anything_is_built(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    asked = [command, "demo", "--run", str(tmp_path / "run"), "--set", "tracking=[mlflow]"]
    sentence = refused(capsys, *asked)
    assert "tracking names mlflow, which is not installed" in sentence and "pip install 'salus[mlflow]'" in sentence
    assert not (tmp_path / "run").exists()


def test_a_plan_that_cannot_fit_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "GPUs" in refused(capsys, "plan", "llama-3.1-8b")
    assert "GiB of memory" in refused(capsys, "plan", "demo", "--set", "cluster.memory_gib=1")
    assert "CPUs" in refused(capsys, "plan", "demo", "--set", "cluster.logical_cpus=2")


def test_what_align_refuses_is_no_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    def planned(rows: list[str], *more: str) -> str:
        _, recipe, _, _, *settings = small(tmp_path, model, rows)
        return refused(capsys, "plan", recipe, *settings, *few, *more)

    few = ["--set", "decide.gate.min_n=1"]

    rows = [json.dumps({"text": f"how much insulin {n}", "harm": 0}) for n in range(60)]
    assert "was not held against human labels" in planned(rows, "--set", "judge.accept_unreliable=false")
    assert "rows.jsonl" in planned([*rows, "{broken"])
    assert "is empty" in planned(rows[:1])
    assert "nowhere" in planned(rows, "--set", f"model.path={tmp_path / 'nowhere'}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        live = (
            "publish.enabled=true",
            f"publish.port={port}",
            "decide.publish_gate=null",
            "decide.publish_uncorrected=true",
        )
        assert str(port) in planned(rows, *(part for each in live for part in ("--set", each)))
    with pytest.raises(SystemExit) as ended:
        _, recipe, _, _, *settings = small(tmp_path, model, rows)
        main(["plan", recipe, *settings, *few])
    assert ended.value.code == 0 and "It fits." in capsys.readouterr().out


def test_a_run_with_other_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    refused(capsys, *small(tmp_path, model, []))
    words = refused(capsys, *small(tmp_path, model, [ROW]), "--set", "train.challengers.dpo.beta=0.7")
    assert "train.challengers.dpo.beta" in words and "--fresh" in words


def test_a_step_without_the_step_before(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = refused(capsys, "judge", "demo", "--run", str(tmp_path / "run"))
    assert "run salus generate for it first" in words


def test_status_of_something_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "is not a run folder" in refused(capsys, "status", str(tmp_path))


@pytest.mark.parametrize(
    "command", ["align", "study", "plan", "doctor", "status", "generate", "judge", "train", "evaluate", "publish"]
)
def test_every_command_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"Example: salus {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plan", "align", "generate"])
def test_feedback_that_cannot_be_read_is_refused_before_a_model_is_built(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SALUS_CACHE", str(tmp_path / "cache"))
    options = ["--run", str(tmp_path / "run"), "--cycle", "1"] if command == "generate" else []
    options = options if command != "align" else ["--run", str(tmp_path / "run")]
    missing = f"preference.feedback={{path: {tmp_path / 'nowhere'}, trusted_only: [ward]}}"
    assert "nowhere holds no feedback" in refused(capsys, command, "demo", "--set", missing, *options)
    unnamed = f"preference.feedback={{path: {tmp_path}, trusted_only: []}}"
    assert "preference.feedback.trusted_only" in refused(capsys, command, "demo", "--set", unnamed, *options)
    assert not (tmp_path / "cache").exists()


@needs_cases
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("alpaca", "so the model would never stop; let it write one of"),
        ("nogenprompt", "ignores add_generation_prompt"),
        ("needssystem", "needs a system message; set model.system_prompt"),
    ],
)
def test_plan_and_align_refuse_the_same_models(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str, words: str
) -> None:
    command = small(tmp_path, families(tmp_path, case) / case, [ROW])
    said = refused(capsys, *command)
    assert words in said and str(tmp_path / case) in said
    plan = command.index("--run")
    with pytest.raises(SystemExit) as ended:
        main(["plan", "demo", *command[plan + 2 :]])
    # A plan tells all faults there are.
    assert ended.value.code == 2
    assert said.removeprefix("salus: ").strip() in capsys.readouterr().err


def test_a_judge_that_cannot_be_asked(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    judge = make_tiny_model(tmp_path / "judge")
    weights = judge / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    sets = ("judge.regimen=LMA", "judge.source=folder", f"judge.path={judge}")
    words = refused(capsys, *small(tmp_path, model, [ROW]), *(part for each in sets for part in ("--set", each)))
    assert f"{weights} is not a whole safetensors file" in words
