"""Salus's training settings in TRL's words, and a TRL trainer's way from fresh parameters to weights on disk.

built --train--> trained in memory --write--> adapter or whole weights under the job's work folder
"""

from __future__ import annotations

import gc
import math
import re
import shutil
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import datasets
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers.trainer_callback import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from actors.contract.records import Assignment, TrainingFigures
from actors.engine.precision import multiplies_bfloat16
from actors.errors import SalusError
from actors.files.full_disk import disk_of
from actors.training.adapter import (
    ADAPTER_WEIGHTS,
    check_adapter,
    copy_companions,
    merge,
    rms_change,
    rms_change_on_disk,
)
from actors.training.algorithms.settings import ChallengerConfig, Optimization, ReferenceConfig
from actors.training.algorithms.table import row_of
from actors.training.checkpoints import CheckpointKeeper, Checkpoints, step_of
from actors.training.config import LoraSettings, TrainConfig, Workers
from actors.training.progress import CurveFile, Tell, logged_figures, mean_loss
from actors.training.ranks import all_or_none, from_rank_zero, rank, world_size
from actors.training.rows import RowCount, tokenising_processes, with_answers

_Report = TypeVar("_Report")


def silence() -> None:
    """No progress bars and no advice of the libraries: the training loop reports progress itself."""
    # PEFT 0.21 asks transformers, and accelerate 1.15 asks torch, by an older name.
    for name in ("is_gradient_checkpointing", "broadcast_buffers"):
        warnings.filterwarnings("ignore", message=f"`{name}` is deprecated", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


@contextmanager
def freed() -> Iterator[None]:
    """No model of the training inside is left in memory afterwards, on a GPU neither: the process may train again.

    TRL binds a model's `forward` to the model, a circle that only the collector opens. The frames of what failed hold
    models too. The caller's own frame must hold none.
    """
    try:
        yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)
            cause = cause.__cause__ or cause.__context__
        raise
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def trl_trainer(
    config: TrainConfig, assignment: Assignment, count: RowCount, folder: Path, **parts: Any
) -> transformers.Trainer:
    """The assignment's TRL trainer, which may write to `folder`; its checkpoints go there.

    Args:
        parts: model, reference model (`ref_model`), rows, tokenizer and adapter, by TRL's names.

    Raises:
        ValueError: TRL refuses the settings.
    """
    row = row_of(config.challengers[assignment.name])
    if not row.reference:
        del parts["ref_model"]
    trainer: transformers.Trainer = row.trl().trainer(**parts, args=trl_arguments(config, assignment, count, folder))
    if isinstance(trainer.train_dataset, datasets.Dataset):
        trainer.train_dataset = with_answers(trainer.train_dataset)
    return trainer


def trl_arguments(config: TrainConfig, assignment: Assignment, count: RowCount, folder: Path) -> TrainingArguments:
    """The arguments of the assignment's TRL trainer."""
    settings = config.challengers[assignment.name]
    row = row_of(settings)
    options: dict[str, Any] = {
        **common_arguments(settings, config, assignment.seed, folder),
        **_saving(config.checkpoint_every_steps),
        **_with_reference(settings),
        **row.options(settings, count),
        "max_length": config.max_length_tokens,
        "dataset_num_proc": tokenising_processes(config.cpus_per_worker, count),
    }
    if "disable_dropout" in row.trl().arguments.__dataclass_fields__:
        # Dropout makes the log-ratios noisy; it stays only where LoRA asks for it.
        options["disable_dropout"] = config.lora is None or config.lora.dropout == 0
    arguments: TrainingArguments = row.trl().arguments(**options)
    return arguments


def _with_reference(settings: ChallengerConfig) -> dict[str, Any]:
    return {"precompute_ref_log_probs": settings.precompute_reference} if isinstance(settings, ReferenceConfig) else {}


def half_precision(workers: Workers) -> bool:
    """Whether this process computes in bfloat16: it is asked for, and the device multiplies in it."""
    return workers.dtype == "bfloat16" and (workers.on_gpu or multiplies_bfloat16())


def _saving(every: int | None) -> dict[str, Any]:
    # Which of its checkpoints stay is not for TRL to say: it would drop the last whole one before the next is whole.
    return {"save_strategy": "steps", "save_steps": every, "save_total_limit": None} if every is not None else {}


def common_arguments(optimization: Optimization, workers: Workers, seed: int, folder: Path) -> dict[str, Any]:
    """What all of TRL's trainers are told; they may write to `folder`."""
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
        "use_cpu": not workers.on_gpu,
        "bf16": half_precision(workers),
        "activation_checkpointing": workers.on_gpu and workers.gradient_checkpointing,
        "fsdp": True if workers.fsdp else None,
        "ddp_find_unused_parameters": False,
        # The rotary frequencies are the same everywhere; sending them costs a rendezvous per forward pass.
        "ddp_broadcast_buffers": False,
        "dataloader_pin_memory": workers.on_gpu,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": workers.log_every_steps,
        # The filter would hide a loss that is not finite.
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def lora_config(lora: LoraSettings, inside: str | None = None) -> LoraConfig:
    """The same adapter in PEFT's words; `inside`: the only module whose layers get one, None: the whole model."""
    targets = lora.target_modules
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        exclude_modules=rf"(?!{re.escape(inside)}\.).*" if inside is not None else None,
        bias="none",
    )


@dataclass(frozen=True)
class TrainingJob:
    """Where a training reads and writes, and what its faults name."""

    # As "KTO training of c1-kto".
    name: str
    # The settings that faults send the reader to, as "train.challengers.kto.learning_rate" and "train.lora".
    rate_setting: str
    lora_setting: str
    learning_rate: float
    # The model folder it starts from.
    base: Path
    # The folder it leaves behind.
    output: Path
    # Whether an adapter is also merged; otherwise its readers do that (`actors.merged`).
    merges: bool = False
    # Where its curve is kept; None: nowhere.
    curve: Path | None = None

    @property
    def work(self) -> Path:
        """Rank 0's scratch folder; inside the output, so that every rank sees the staged rows."""
        return self.output / ".work"

    @property
    def adapter(self) -> Path:
        return self.work / "adapter"

    @property
    def merged(self) -> Path:
        return self.work / "merged"


class TrlTraining:
    """A TRL trainer that is ready to train; every rank makes one and calls `train`.

    Raises:
        SalusError: no parameter would be trained.
    """

    def __init__(
        self, trl_trainer: Any, job: TrainingJob, on_step: Tell | None = None, checkpoints: Checkpoints | None = None
    ) -> None:
        self._trl = trl_trainer
        self._job = job
        self.trainable = _trainable(trl_trainer.model)
        if self.trainable == 0:
            raise SalusError(f"No parameter of {job.base} would be trained; check {job.lora_setting}.target_modules.")
        trl_trainer.remove_callback(PrinterCallback)
        trl_trainer.create_scheduler = partial(_scheduled, trl_trainer.create_scheduler, trl_trainer.args)
        self._curve = CurveFile(job.curve) if job.curve is not None and rank() == 0 else None
        if on_step is not None or self._curve is not None:
            trl_trainer.add_callback(_StepReporter(on_step, self._curve))
        if checkpoints is not None:
            trl_trainer.add_callback(CheckpointKeeper(checkpoints))
        self._before: dict[str, torch.Tensor] = {}
        self._loss_mean = 0.0
        self._train_s = 0.0
        self._train_start_s = 0.0
        self._resumed_at = 0

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter is trained, rather than every weight."""
        return isinstance(self._trl.model, PeftModel)

    def train(self, checkpoint: Path | None = None) -> None:
        """Train to the end, from a checkpoint on where one is given.

        Raises:
            SalusError: on all ranks, where the loss is not finite.
            FullDiskError: on the rank that could not write its part of a checkpoint.
        """
        self._before = self._adapter_now()
        with disk_of(Path(self._trl.args.output_dir)):
            result = self._trl.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
        self._resumed_at = step_of(checkpoint) if checkpoint is not None else 0
        self._loss_mean = mean_loss(
            self._trl.state.log_history, float(result.training_loss), self._resumed_at, self._trl.state.global_step
        )
        self._train_s = float(result.metrics["train_runtime"])
        # TRL says how long it took alone.
        self._train_start_s = time.time() - self._train_s
        with all_or_none():
            self._check_losses()

    def save(self, fsdp: bool, finish: Callable[[float], _Report]) -> _Report:
        """Write `adapter/`, or without LoRA `merged/`, or both as the job asks, under its work folder, gone afterwards.

        Args:
            fsdp: whether the weights are sharded over the ranks.
            finish: called on rank 0 alone with the root-mean-square change of what was trained. Moves the folders to
                their places and writes the report, which every rank gets.

        Raises:
            SalusError: on all ranks, where nothing changed or the disk refuses.
            FullDiskError: on all ranks, where it is full.
        """
        # Gathering sharded weights takes every rank; writing them takes rank 0 alone.
        state = self._trl.accelerator.get_state_dict(self._trl.model) if fsdp else None
        report: _Report | None = None
        with all_or_none():
            if rank() == 0:
                try:
                    with disk_of(self._job.output):
                        if self._curve is not None:
                            self._curve.write(self._trl.state.log_history)
                        report = finish(self._write(state))
                except OSError as error:
                    raise SalusError(
                        f"{self._job.name} cannot write to {self._job.output} ({error}); free it."
                    ) from error
                finally:
                    shutil.rmtree(self._job.work, ignore_errors=True)
        report = from_rank_zero(report)
        assert report is not None
        return report

    def _write(self, state: dict[str, Any] | None) -> float:
        model = self._trl.accelerator.unwrap_model(self._trl.model)
        return self._write_adapter(model, state) if self._before else self._write_whole(model, state)

    def figures(self, rows: int, change: float, wall_s: float) -> TrainingFigures:
        """What the training cost and changed."""
        return TrainingFigures(
            rows=rows,
            steps=self._trl.state.global_step,
            train_s=self._train_s,
            train_start_s=self._train_start_s,
            wall_s=wall_s,
            workers=world_size(),
            trainable_parameters=self.trainable,
            adapter_change=change,
            metrics=logged_figures(
                self._trl.state.log_history, self._loss_mean, self._resumed_at, self._trl.state.global_step
            ),
        )

    def _adapter_now(self) -> dict[str, torch.Tensor]:
        """The untrained adapter under the names it is saved by; empty for a full fine-tune."""
        if not self.has_adapter:
            return {}
        state = get_peft_model_state_dict(self._trl.model, save_embedding_layers=False)
        return {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in state.items()}

    def _check_losses(self) -> None:
        state: TrainerState = self._trl.state
        losses = [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
        for step, loss in [*losses, (state.global_step, self._loss_mean)]:
            if not math.isfinite(loss):
                raise SalusError(
                    f"{self._job.name} diverged: its loss is {loss} by step {step}; lower "
                    f"{self._job.rate_setting} (now {self._job.learning_rate:g})."
                )

    def _write_adapter(self, model: Any, state: dict[str, Any] | None) -> float:
        job = self._job
        model.save_pretrained(str(job.adapter), state_dict=state, save_embedding_layers=False)
        (job.adapter / "README.md").unlink(missing_ok=True)
        change = self._checked(rms_change(self._before, load_file(job.adapter / ADAPTER_WEIGHTS)))
        check_adapter(job.adapter)
        if job.merges:
            merge(job.base, job.adapter, job.merged)
        return change

    def _write_whole(self, model: Any, state: dict[str, Any] | None) -> float:
        job = self._job
        stored = transformers.AutoConfig.from_pretrained(job.base, trust_remote_code=False).dtype or torch.float32
        weights = model.state_dict() if state is None else state
        model.save_pretrained(job.merged, state_dict={name: each.to(stored) for name, each in weights.items()})
        copy_companions(job.base, job.merged)
        shutil.copyfile(job.base / "config.json", job.merged / "config.json")
        return self._checked(rms_change_on_disk(job.base, job.merged))

    def _checked(self, change: float) -> float:
        if not (math.isfinite(change) and change > 0):
            raise SalusError(
                f"{self._job.name} changed the weights by {change} (root mean square); check its rows and its "
                f"learning rate ({self._job.learning_rate:g})."
            )
        return change


def _scheduled(create: Callable[..., Any], arguments: TrainingArguments, num_training_steps: int) -> Any:
    """A trainer's scheduler with a step left after the warm-up, whose first rate is zero and trains nothing."""
    if arguments.get_warmup_steps(num_training_steps) >= num_training_steps:
        arguments.warmup_steps = num_training_steps - 1
    return create(num_training_steps=num_training_steps)


class _StepReporter(TrainerCallback):
    """Tells `on_step` how far the training is, and keeps its curve."""

    def __init__(self, on_step: Tell | None, curve: CurveFile | None) -> None:
        self.on_step = on_step
        self.curve = curve

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.on_step is not None:
            self.on_step(state.global_step, state.max_steps)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.curve is not None:
            self.curve.look(state.log_history)


def _trainable(model: torch.nn.Module) -> int:
    return sum(each.numel() for each in model.parameters() if each.requires_grad)
