"""Building the clinic's models at the smallest sizes: they save, load, cache, and hold the labels."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.contract.records import LABELS
from pipelines.data.clinic.config import ClinicConfig, ClinicCorpusConfig
from pipelines.data.clinic.models import build_judge, build_policy
from pipelines.data.tiny.config import PretrainConfig, TinyModelConfig

SHAPE = TinyModelConfig(hidden=32, layers=1, heads=2, kv_heads=1, intermediate=64)
SHORT = PretrainConfig(steps=2, batch_tokens=256)
CONFIG = ClinicConfig(
    corpus=ClinicCorpusConfig(chat_rows=400, note_rows=100, judge_rows=50),
    policy=SHAPE,
    judge=SHAPE,
    judge_rows=200,
    policy_pretraining=SHORT,
    judge_pretraining=SHORT,
    lma_pretraining=SHORT,
)


def test_policy_and_judges_build_once_and_know_the_labels(tmp_path: Path) -> None:
    steps: list[int] = []
    policy = build_policy(CONFIG, tmp_path, lambda step, total, loss: steps.append(step))
    assert steps == [1, 2]
    assert build_policy(CONFIG, tmp_path, lambda step, total, loss: steps.append(step)) == policy
    assert steps == [1, 2]
    folders = {policy, build_judge(CONFIG, "EXT", tmp_path), build_judge(CONFIG, "LMA", tmp_path)}
    assert len(folders) == 3
    for folder in folders:
        assert (folder / "model.safetensors").is_file() and (folder / "generation_config.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in LABELS]
        assert all(len(i) == 1 for i in ids) and len({i[0] for i in ids}) == 3
        assert AutoModelForCausalLM.from_pretrained(folder).config.eos_token_id == tokenizer.eos_token_id


def test_another_seed_is_another_folder(tmp_path: Path) -> None:
    assert build_policy(CONFIG, tmp_path) != build_policy(CONFIG.model_copy(update={"seed": 1}), tmp_path)
