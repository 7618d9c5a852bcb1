"""The deployed policy as a folder that any Hugging Face program loads; built once, then from the cache."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.medsafety.policy import build_medsafety_policy
from pipelines.data.tiny.config import PretrainConfig, TinyModelConfig


def test_the_policy_is_built_once_and_loads(small_data: Path, tmp_path: Path) -> None:
    config = MedsafetyConfig(
        data_dir=small_data,
        model=TinyModelConfig(hidden=16, layers=1, heads=2, kv_heads=1, intermediate=32, vocabulary=300),
        pretrain=PretrainConfig(steps=2, batch_tokens=256),
    )
    steps: list[int] = []
    folder = build_medsafety_policy(config, tmp_path / "cache", lambda step, _steps, _loss: steps.append(step))
    assert steps == [1, 2]
    assert build_medsafety_policy(config, tmp_path / "cache", lambda *_: steps.append(0)) == folder
    assert steps == [1, 2]
    other = build_medsafety_policy(config.model_copy(update={"seed": 1}), tmp_path / "cache")
    assert other != folder
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.chat_template
