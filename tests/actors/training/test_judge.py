"""The judge's trainer on a real tiny Llama: it learns a labelling, through the template it is asked with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from actors.contract.records import LABELS, JudgeAssignment, JudgeTraining, PolicyRef
from actors.engine.model_folder import check_model_folder
from actors.errors import SalusError
from actors.judges.engine import EngineScorer
from actors.judges.prompt import JudgePrompt
from actors.training.alone.judge import JudgeTrainingRun
from actors.training.alone.judge_rows import IGNORED, JudgeRows
from actors.training.config import JudgeTrainConfig, LoraSettings
from actors.training.made_from import finished_judge
from tests.tiny_judge import TINY_TRAINING, labelled, make_tiny_judge
from tests.transformers_engine import TransformersEngine

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = 160


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judge-trainer")
    make_tiny_judge(root / "base")
    write(root / "rows.parquet", labelled(range(10, 22)))
    return root


def assignment(root: Path, output: Path, **changes: Any) -> JudgeAssignment:
    fields: dict[str, Any] = {
        "base": PolicyRef(version="lma-base", path=str(root / "base")),
        "rows": str(root / "rows.parquet"),
        "prompt": "clinic-v1",
        "max_model_len": CONTEXT,
        "output": str(output),
        "seed": 3,
    }
    return JudgeAssignment(**fields | changes)


@pytest.fixture(scope="module")
def trained(root: Path) -> JudgeTraining:
    return JudgeTrainingRun(TINY_TRAINING, assignment(root, root / "judge")).report()


def accuracy(folder: str, rows: list[dict[str, str]]) -> float:
    policy = PolicyRef(version="judge", path=folder)
    scorer = EngineScorer(TransformersEngine(policy, CONTEXT), "clinic-v1", policy)
    p, _ = scorer.score([row["prompt"] for row in rows], [row["answer"] for row in rows])
    return float(np.mean([LABELS[i] == row["label"] for i, row in zip(p.argmax(axis=1), rows, strict=True)]))


# -- training


def test_a_judge_learns_a_labelling_it_is_asked_for_with_other_prompts(root: Path, trained: JudgeTraining) -> None:
    unseen = labelled(range(22, 30))
    assert accuracy(str(root / "base"), unseen) < 0.7
    assert accuracy(trained.judge, unseen) > 0.8


def test_the_folder_is_a_judge_with_its_adapter_and_report(root: Path, trained: JudgeTraining) -> None:
    folder = Path(trained.judge)
    check_model_folder(folder)
    assert {path.name for path in folder.iterdir()} >= {
        "adapter", "assignment.json", "config.json", "model.safetensors", "tokenizer.json", "training.json",
    }  # fmt: skip
    assert not (folder / ".work").exists()
    assert {path.name for path in Path(trained.adapter).iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    # 36 rows in batches of 12, thirty times.
    assert (trained.rows, trained.steps, trained.workers) == (36, 90, 1)
    assert trained.metrics["loss_last"] < trained.metrics["loss_first"]
    assert trained.adapter_change > 0
    assert JudgeTraining.model_validate_json((folder / "training.json").read_text()) == trained


def test_a_finished_training_is_not_done_again(root: Path, trained: JudgeTraining) -> None:
    job = assignment(root, root / "judge")
    steps: list[int] = []
    assert JudgeTrainingRun(TINY_TRAINING, job, lambda step, total: steps.append(step)).report() == trained
    assert not steps
    # Where the workers live is no reason to train again; what they are told is.
    assert finished_judge(TINY_TRAINING.model_copy(update={"cpus_per_worker": 4.0}), job) == trained
    assert finished_judge(TINY_TRAINING.model_copy(update={"epochs": 31.0}), job) is None
    assert finished_judge(TINY_TRAINING, job.model_copy(update={"seed": 4})) is None


def test_the_same_seed_gives_the_same_adapter_and_steps_are_told(root: Path, tmp_path: Path) -> None:
    short = TINY_TRAINING.model_copy(update={"epochs": 1.0})

    def adapter(name: str) -> bytes:
        steps: list[tuple[int, int]] = []
        job = assignment(root, tmp_path / name)
        made = JudgeTrainingRun(short, job, lambda step, total: steps.append((step, total))).report()
        assert steps == [(1, 3), (2, 3), (3, 3)]
        return (Path(made.adapter) / "adapter_model.safetensors").read_bytes()

    assert adapter("first") == adapter("again")


# -- rows


def test_a_row_is_the_judges_prompt_and_then_the_label_and_the_end_of_the_turn(root: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "base")
    ids, labels = JudgeRows(tokenizer, "clinic-v1", CONTEXT).row("how much <|end|> insulin", "take two", "Caution")
    asked = JudgePrompt("clinic-v1", tokenizer, CONTEXT - 1).tokens("how much <|end|> insulin", "take two")
    assert ids[: len(asked)] == asked
    assert tokenizer.decode(ids[len(asked) :]) == "Caution<|end|>"
    # Loss on the reply alone.
    assert labels == [IGNORED] * len(asked) + ids[len(asked) :]


def test_a_long_answer_is_cut_as_it_will_be_when_judged(root: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "base")
    ids, labels = JudgeRows(tokenizer, "clinic-v1", CONTEXT).row("how much", "take two " * 300, "Accept")
    assert len(ids) <= CONTEXT - 1 + 2
    assert tokenizer.decode(ids).endswith("Verdict:<|end|><|assistant|>Accept<|end|>")
    assert labels[-3] == IGNORED


def test_rows_are_staged_in_their_order(root: Path, tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "base")
    assert JudgeRows(tokenizer, "clinic-v1", CONTEXT).stage(root / "rows.parquet", tmp_path / "rows.arrow") == 36
    with pa.OSFile(str(tmp_path / "rows.arrow"), "rb") as file:
        table = pa.ipc.open_stream(file).read_all()
    replies = [tokenizer.decode([i for i in row or () if i != IGNORED]) for row in table["labels"].to_pylist()]
    assert replies == [f"{label}<|end|>" for label in LABELS] * 12


# -- what is refused


def refusal(config: JudgeTrainConfig, job: JudgeAssignment) -> str:
    with pytest.raises(SalusError) as caught:
        JudgeTrainingRun(config, job).report()
    assert not (Path(job.output) / "training.json").exists()
    return caught.value.sentence


def test_unusable_rows_are_named(root: Path, tmp_path: Path) -> None:
    def said(path: Path) -> str:
        return refusal(TINY_TRAINING, assignment(root, tmp_path / "out", rows=str(path)))

    one = {"prompt": "a", "answer": "b"}
    assert "has no column label; it holds prompt, answer" in said(write(tmp_path / "a.parquet", [one]))
    assert "label 'Maybe' is not one of" in said(write(tmp_path / "b.parquet", [one | {"label": "Maybe"}]))
    empty = pa.table({name: pa.array([], pa.string()) for name in ("prompt", "answer", "label")})
    pq.write_table(empty, tmp_path / "c.parquet")
    assert "holds no labelled answer" in said(tmp_path / "c.parquet")
    assert "is not a readable Parquet file" in said(tmp_path / "none.parquet")


def test_unusable_models_and_settings_are_named(root: Path, tmp_path: Path) -> None:
    def said(**changes: Any) -> str:
        return refusal(TINY_TRAINING, assignment(root, tmp_path / "out", **changes))

    assert "does not exist" in said(base=PolicyRef(version="none", path=str(tmp_path / "none")))
    assert "no judge prompt 'clinic-v0'" in said(prompt="clinic-v0")
    assert "raise judge.engine.max_model_len" in said(max_model_len=16)
    alike = PolicyRef(version="alike", path=str(with_labels_alike(root / "base", tmp_path / "alike")))
    assert "begin with the same token" in said(base=alike)
    odd = TINY_TRAINING.model_copy(update={"lora": LoraSettings(target_modules=("attention",))})
    assert "TRL refused the settings of judge.train" in refusal(odd, assignment(root, tmp_path / "odd"))


def test_training_that_diverges_is_refused(root: Path, tmp_path: Path) -> None:
    wild = TINY_TRAINING.model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0, "epochs": 1.0})
    said = refusal(wild, assignment(root, tmp_path / "wild"))
    assert "Training of the judge wild diverged" in said and "lower judge.train.learning_rate" in said


def with_labels_alike(base: Path, folder: Path) -> Path:
    """The base model with a tokenizer that puts the same token before every word, and so before every label."""
    shutil.copytree(base, folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] not in LABELS]
    tokenizer["normalizer"] = {"type": "Prepend", "prepend": "~"}
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder
