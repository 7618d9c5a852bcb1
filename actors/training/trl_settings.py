"""Salus's training settings in TRL's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from trl import DPOConfig, KTOConfig, SFTConfig  # type: ignore[attr-defined]

from actors.contract.records import Assignment
from actors.training.config import LoraSettings, Optimization, TrainConfig, Workers
from actors.training.rows import RowCount, kto_weights


def trl_arguments(config: TrainConfig, assignment: Assignment, count: RowCount, folder: Path) -> KTOConfig | DPOConfig:
    """The arguments of the assignment's TRL trainer, which may write to `folder`; its checkpoints go there."""
    if assignment.algorithm == "kto":
        return _kto_arguments(config, assignment, count, folder)
    dpo = config.dpo
    return DPOConfig(
        **_preference_arguments(config, assignment, folder),
        beta=dpo.beta,
        loss_type=list(dpo.loss_type),
        loss_weights=list(dpo.loss_weights),
        label_smoothing=dpo.label_smoothing,
    )


def _kto_arguments(config: TrainConfig, assignment: Assignment, count: RowCount, folder: Path) -> KTOConfig:
    kto = config.kto
    balanced = kto_weights(count.desirable, count.rows - count.desirable)
    desirable, undesirable = balanced if kto.weights == "auto" else kto.weights
    return KTOConfig(
        **_preference_arguments(config, assignment, folder),
        beta=kto.beta,
        loss_type=kto.loss_type,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
    )


def sft_arguments(optimization: Optimization, workers: Workers, seed: int, folder: Path) -> SFTConfig:
    """The arguments of an `SFTTrainer` whose rows come as token ids and labels, cut to length already."""
    return SFTConfig(
        **_common_arguments(optimization, workers, seed, folder),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def _preference_arguments(config: TrainConfig, assignment: Assignment, folder: Path) -> dict[str, Any]:
    loss = config.loss(assignment.algorithm)
    return {
        **_common_arguments(loss, config, assignment.seed, folder),
        **_saving(config.checkpoint_every_steps),
        "precompute_ref_log_probs": loss.precompute_reference,
        "max_length": config.max_length_tokens,
        # Dropout makes the log-ratios noisy; it stays only where LoRA asks for it.
        "disable_dropout": config.lora is None or config.lora.dropout == 0,
    }


def _saving(every: int | None) -> dict[str, Any]:
    # Which of its checkpoints stay is not for TRL to say: it would drop the last whole one before the next is whole.
    return {"save_strategy": "steps", "save_steps": every, "save_total_limit": None} if every is not None else {}


def _common_arguments(optimization: Optimization, workers: Workers, seed: int, folder: Path) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "seed": seed,
        # The rows come shuffled; KTO's KL term pairs neighbours, so their order must stay.
        "train_sampling_strategy": "sequential",
        "learning_rate": optimization.learning_rate,
        "num_train_epochs": optimization.epochs,
        "per_device_train_batch_size": optimization.batch_size,
        "gradient_accumulation_steps": optimization.gradient_accumulation,
        "warmup_steps": optimization.warmup_ratio,
        "lr_scheduler_type": optimization.scheduler,
        "weight_decay": optimization.weight_decay,
        "max_grad_norm": optimization.max_grad_norm,
        "use_cpu": not on_gpu,
        "bf16": on_gpu and workers.dtype == "bfloat16",
        "activation_checkpointing": on_gpu and workers.gradient_checkpointing,
        "fsdp": True if workers.fsdp else None,
        "ddp_find_unused_parameters": False,
        # The rotary frequencies are the same everywhere; sending them costs a rendezvous per forward pass.
        "ddp_broadcast_buffers": False,
        "dataloader_pin_memory": on_gpu,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "steps",
        # Ten times a run: each log is a rendezvous of all ranks.
        "logging_steps": 0.1,
        # The filter would hide a loss that is not finite.
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def lora_config(lora: LoraSettings) -> LoraConfig:
    """The same adapter in PEFT's words."""
    targets = lora.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
    )
