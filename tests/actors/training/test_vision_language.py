"""A model with a tower for images, as MedGemma: its language model alone is trained, and the whole is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from actors.contract.records import Assignment, PolicyRef, TrainReport
from actors.engine.model_folder import check_model_folder
from actors.training.adapter import ADAPTER_WEIGHTS, load_model, merge, model_class
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.challenger import TrainingRun
from actors.training.config import LoraSettings, TrainConfig
from actors.training.merging.adapters import combine
from tests.model_cases import needs_cases, vision_model
from tests.root import ROOT

pytestmark = [needs_cases, pytest.mark.usefixtures("one_thread")]

CONFIG = TrainConfig(
    challengers={
        "kto": KtoConfig(batch_size=4, learning_rate=1e-2),
        "dpo": DpoConfig(batch_size=4, learning_rate=1e-2),
    }
)
INSIDE = "language_model"
# Each rank of a run under torch.distributed.
RANK = """
import sys, torch
from actors.contract.records import Assignment
from actors.training.challenger import TrainingRun
from actors.training.config import TrainConfig
torch.distributed.init_process_group("gloo")
TrainingRun(TrainConfig.model_validate_json(sys.argv[1]), Assignment.model_validate_json(sys.argv[2])).report()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model and rows for it."""
    root = tmp_path_factory.mktemp("vision")
    vision_model(root / "model")
    prompts = [f"How do I store tablet {number}?" for number in range(16)]
    columns: dict[str, list[Any]] = {
        "prompt": prompts,
        "chosen": ["In the fridge."] * 16,
        "rejected": ["I cannot help with that."] * 16,
    }
    labelled: dict[str, list[Any]] = {
        "prompt": prompts,
        "completion": ["In the fridge.", "No."] * 8,
        "label": [True, False] * 8,
    }
    for name, table in (("dpo", columns), ("kto", labelled)):
        (root / name).mkdir()
        pq.write_table(pa.table(table), root / name / "rows.parquet")
    return root


def assignment(place: Path, algorithm: str, output: Path) -> Assignment:
    champion = PolicyRef(version="champion", path=str(place / "model"))
    return Assignment(
        index=0,
        cycle=0,
        algorithm=algorithm,
        champion=champion,
        reference=champion,
        rows=str(place / algorithm),
        output=str(output),
        version=f"c0-{algorithm}",
        seed=7,
    )


def changed(place: Path, merged: Path) -> set[str]:
    old, new = (load_file(folder / "model.safetensors") for folder in (place / "model", merged))
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


@pytest.mark.parametrize("algorithm", ["dpo", "kto"])
def test_the_adapter_is_on_the_language_model_alone(place: Path, algorithm: str, tmp_path: Path) -> None:
    report = TrainingRun(CONFIG, assignment(place, algorithm, tmp_path / "out")).report()
    adapter, merged = Path(report.adapter), Path(report.challenger.path)
    merge(place / "model", adapter, merged)
    assert report.metrics["loss_mean"] > 0
    assert all(INSIDE in name for name in load_file(adapter / ADAPTER_WEIGHTS))
    moved = changed(place, merged)
    assert moved and all(INSIDE in name for name in moved)
    # What the processor is made from, byte for byte.
    check_model_folder(merged)
    for name in ("preprocessor_config.json", "processor_config.json", "chat_template.jinja", "tokenizer.json"):
        assert (merged / name).read_bytes() == (place / "model" / name).read_bytes()
    former, now = (json.loads((folder / "config.json").read_text()) for folder in (place / "model", merged))
    assert former["architectures"] == now["architectures"] == ["Gemma3ForConditionalGeneration"]


def test_two_adapters_are_combined_into_one(place: Path, tmp_path: Path) -> None:
    reports = [TrainingRun(CONFIG, assignment(place, name, tmp_path / name)).report() for name in ("dpo", "kto")]
    combine(place / "model", [Path(report.adapter) for report in reports], tmp_path / "both")
    assert all(INSIDE in name for name in load_file(tmp_path / "both" / ADAPTER_WEIGHTS))


def test_named_layers_of_the_other_tower_get_no_adapter(place: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"lora": LoraSettings(target_modules=("q_proj", "v_proj"))})
    report = TrainingRun(config, assignment(place, "dpo", tmp_path / "out")).report()
    names = list(load_file(Path(report.adapter) / ADAPTER_WEIGHTS))
    assert names and all(INSIDE in name for name in names)


def test_full_training_leaves_the_other_towers_as_they_are(place: Path, tmp_path: Path) -> None:
    model = load_model(place / "model", half=False)
    still = {name for name, each in model.named_parameters() if not each.requires_grad}
    assert still and all("vision_tower" in name or "projector" in name for name in still)
    config = CONFIG.model_copy(update={"lora": None})
    report = TrainingRun(config, assignment(place, "dpo", tmp_path / "out")).report()
    moved = changed(place, Path(report.challenger.path))
    assert moved and not any("vision_tower" in name or "projector" in name for name in moved)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [LoraSettings(), None])
def test_two_workers_train_it(place: Path, lora: LoraSettings | None, tmp_path: Path) -> None:
    job = assignment(place, "dpo", tmp_path / "out")
    config = CONFIG.model_copy(update={"lora": lora})
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    command += [config.model_dump_json(), job.model_dump_json()]
    subprocess.run(command, check=True, cwd=ROOT, env=None, timeout=300)
    report = TrainReport.model_validate_json((tmp_path / "out" / "report.json").read_text())
    assert report.workers == 2
    if lora is not None:
        merge(place / "model", Path(report.adapter), Path(report.challenger.path))
    assert model_class(place / "model").from_pretrained(report.challenger.path) is not None
    assert changed(place, Path(report.challenger.path))
