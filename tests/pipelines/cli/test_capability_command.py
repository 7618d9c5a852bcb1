"""`salus capability` on bad input, before any engine starts: one sentence, and what to do instead."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.pipelines.cli.refused import refused


def test_a_recipe_without_questions_is_told_how_to_name_some(capsys: pytest.CaptureFixture[str]) -> None:
    words = refused(capsys, "capability", "demo")
    assert "Recipe demo names no questions to measure capability by; add --set capability.choices=FILE" in words


def test_a_missing_model_is_named_before_its_questions_are_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["--set", f"capability.choices={tmp_path / 'none.jsonl'}"]
    words = refused(capsys, "capability", "demo", "--model", str(tmp_path / "nowhere"), *asked)
    assert f"{tmp_path / 'nowhere'} does not exist" in words


def test_a_bad_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = refused(capsys, "capability", "demo", "--set", "capability.max_accuracy_dorp=0.1")
    assert "unknown key 'capability.max_accuracy_dorp', did you mean 'max_accuracy_drop'" in words
    words = refused(capsys, "plan", "demo", "--set", "capability.max_toxicity_rise=.1")
    assert "max_toxicity_rise needs 'toxicity'" in words
    rules = ["--set", "judge.regimen=RULES", "--set", "judge.truth=null"]
    words = refused(capsys, "plan", "demo", "--set", "capability.toxicity.path=x.jsonl", *rules)
    assert "capability.toxicity needs a judge that reads what an answer says, and RULES finds refusals alone" in words
    words = refused(capsys, "plan", "demo", "--set", "capability={source: medquad, choices: x.jsonl}")
    assert "source 'medquad' makes its own sets" in words


def test_no_task_is_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--tasks names no task" in refused(capsys, "capability", "demo", "--tasks", " , ")


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="the extra eval is installed")
def test_a_missing_harness_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = refused(capsys, "capability", "demo", "--tasks", "medqa_4options")
    assert "evaluation harness is not installed; install Salus with its extra" in words


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="the extra eval is not installed")
def test_a_missing_folder_of_tasks_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["capability", "demo", "--tasks", "x", "--task-path", str(tmp_path / "nowhere")]
    assert "is not a folder" in refused(capsys, *command)


def test_a_plan_says_that_capability_is_measured(capsys: pytest.CaptureFixture[str], public_data: Path) -> None:
    room = ["--set", "cluster.memory_gib=64", "--set", "cluster.logical_cpus=16"]
    with pytest.raises(SystemExit) as ended:
        main(["plan", "medsafety", "--data", str(public_data), *room])
    assert ended.value.code == 0
    assert "judged, and their capability" in " ".join(capsys.readouterr().out.split())
