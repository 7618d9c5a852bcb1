"""What the checks on a GPU share: models made on the spot, rows as long as a recipe allows, and figures to record.

Nothing here needs Ray, vLLM or a network. `GPU_SUITE_DEVICE=cpu` tries the checks without a GPU, on tiny shapes.
"""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from actors.contract.records import Assignment, PolicyRef
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.algorithms.table import Algorithm
from actors.training.challenger import TrainingRun
from actors.training.config import TrainConfig
from tests.tiny_model import tiny_tokenizer

TRIAL = os.environ.get("GPU_SUITE_DEVICE") == "cpu"
MIB = 2**20
# Rows of a forward pass and tokens of a row: a DPO step of the recipe llama-3.1-8b.
BATCH = 2
LENGTH = 96 if TRIAL else 1536
LAYERS = 2 if TRIAL else 4
WORDS = ("dose", "clinic", "ibuprofen", "refill", "patient", "insulin", "tablet", "fever", "allergy", "consent")
# Llama 3's own shapes, four layers of each.
SHAPES: dict[str, dict[str, Any]] = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14_336, "head_dim": 128, "tie_word_embeddings": False},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "head_dim": 64, "tie_word_embeddings": True},
}
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256}
TRIAL_SHAPE = {"hidden_size": 64, "intermediate_size": 224, "head_dim": 16, "vocab_size": 1024}
TRIAL_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def record(check: str, **figures: Any) -> None:
    """Print a check's figures as a line of JSON, and append it to the file that `GPU_FIGURES` names."""
    line = json.dumps({"check": check, **figures}, default=str)
    print(f"\n{line}", flush=True)
    if os.environ.get("GPU_FIGURES"):
        with open(os.environ["GPU_FIGURES"], "a", encoding="utf-8") as file:
            file.write(line + "\n")


def make_model(folder: Path, size: str) -> Path:
    """Write a Llama of this size's shape with drawn bfloat16 weights; its tokenizer knows 403 of the tokens."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 8192
    shape = SHAPES[size] | HEADS | (TRIAL_SHAPE | TRIAL_HEADS if TRIAL else {})
    config = LlamaConfig(
        **shape,
        num_hidden_layers=LAYERS,
        max_position_embeddings=8192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    # Two thousand million numbers are drawn at once on a GPU, and take half a minute on CPU cores.
    with torch.device("cpu" if TRIAL else "cuda"):
        model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_rows(folder: Path, algorithm: Algorithm, rows: int) -> Path:
    """Write rows whose answers are longer than `LENGTH`, so that every row is cut to it."""
    draw = random.Random(0)

    def answer() -> str:
        # A token is a letter at least.
        return " ".join(draw.choices(WORDS, k=LENGTH))

    prompts = [f"May a patient take {draw.choice(WORDS)} number {number}?" for number in range(rows)]
    columns: dict[str, list[Any]] = {"prompt": prompts}
    if algorithm == "kto":
        columns |= {"completion": [answer() for _ in prompts], "label": [number % 2 == 0 for number in range(rows)]}
    else:
        columns |= {"chosen": [answer() for _ in prompts], "rejected": [answer() for _ in prompts]}
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return folder


def settings(checkpointing: bool, *, accumulation: int = 1, every: int | None = None) -> TrainConfig:
    """The settings of the checks; `every`: optimizer steps between checkpoints."""
    loss: dict[str, Any] = {"batch_size": BATCH, "gradient_accumulation": accumulation, "learning_rate": 1e-4}
    return TrainConfig(
        challengers={"kto": KtoConfig(**loss), "dpo": DpoConfig(**loss)},
        workers_per_run=1,
        gpus_per_worker=0 if TRIAL else 1,
        dtype="bfloat16",
        gradient_checkpointing=checkpointing,
        max_length_tokens=LENGTH,
        checkpoint_every_steps=every,
    )


def assignment(algorithm: Algorithm, model: Path, rows: Path, output: Path) -> Assignment:
    """One assignment as the coordinator would give it."""
    champion = PolicyRef(version="c0-base", path=str(model))
    return Assignment(
        index=0,
        cycle=1,
        algorithm=algorithm,
        champion=champion,
        reference=champion,
        rows=str(rows),
        output=str(output),
        version=f"c1-{algorithm}",
        seed=7,
    )


def train_and_die(config: TrainConfig, job: Assignment, checkpoints: Path, last: int) -> None:
    """Train in this process and kill it after a step; the start of a process of its own."""

    def on_step(step: int, total: int) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingRun(config, job, on_step, checkpoints).report()


def allocated_mib() -> float:
    """What tensors take on the GPU now."""
    return 0.0 if TRIAL else torch.cuda.memory_allocated() / MIB


def peak_mib() -> float:
    """The most that tensors took on the GPU since `reset_peak`."""
    return 0.0 if TRIAL else torch.cuda.max_memory_allocated() / MIB


def reset_peak() -> None:
    """Count the peak from now on."""
    if not TRIAL:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def settle() -> None:
    """Wait for what the GPU still computes, before a clock is read."""
    if not TRIAL:
        torch.cuda.synchronize()
