"""One training job from the champion's folder to a written challenger, on every rank of a run.

asked --prepare--> rows staged, models loaded --train--> trained in memory --save--> report.json written
"""

from __future__ import annotations

import gc
import math
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_callback import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.training_args import TrainingArguments
from trl import DPOTrainer, KTOTrainer  # type: ignore[attr-defined]

from actors.adapter import (
    ADAPTER_WEIGHTS,
    copy_companions,
    merge,
    rms_change,
    rms_change_on_disk,
)
from actors.errors import SalusError
from actors.model_folder import check_model_folder
from actors.ranks import all_or_none, from_rank_zero, rank, world_size
from actors.records import Assignment, PolicyRef, Record, TrainReport
from actors.trainer import TrainConfig
from actors.training_rows import RowCount, stage_rows
from actors.trl_settings import lora_config, trl_arguments

OnStep = Callable[[int, int], None]
# The settings that decide what comes out; a report made under others is not reused.
DECISIVE = frozenset(
    {"reference", "lora", "workers_per_run", "threads_per_worker", "fsdp", "dtype", "max_length_tokens"}
)


class _Order(Record):
    """What an output was made from; written beside its report."""

    assignment: Assignment
    settings: dict[str, Any]


@dataclass(frozen=True)
class _Models:
    """What a job reads from disk; the reference is None where TRL takes the champion as it was loaded."""

    tokenizer: PreTrainedTokenizerBase
    champion: PreTrainedModel
    reference: PreTrainedModel | None


class TrainingRun:
    """Trains one challenger and writes it; see `Trainer.train` for the contract."""

    def __init__(self, config: TrainConfig, assignment: Assignment, on_step: OnStep | None = None) -> None:
        self.config = config
        self.assignment = assignment
        self.on_step = on_step
        self.loss = config.loss(assignment.algorithm)
        self.name = f"{assignment.algorithm.upper()} training of {assignment.version}"
        self.output = Path(assignment.output)
        # Rank 0's scratch folder inside the output, so that every rank sees the staged rows.
        self.work = self.output / ".work"
        self.champion = Path(assignment.champion.path)
        self.on_gpu = torch.cuda.is_available()

    def report(self) -> TrainReport:
        """The report of this job: the one on disk where it is complete, or that of training now."""
        started = time.monotonic()
        done = from_rank_zero(self._finished() if rank() == 0 else None)
        if done is not None:
            return done
        _silence()
        with all_or_none():
            count = self._stage() if rank() == 0 else None
        count = from_rank_zero(count)
        assert count is not None
        with all_or_none():
            models = _Models(
                tokenizer=_load_tokenizer(self.champion),
                champion=self._load_model(self.champion),
                reference=self._reference_model(),
            )
        with all_or_none():
            trl_trainer = self._trl_trainer(models, count)
        before = self._adapter_now(trl_trainer)
        result = trl_trainer.train()
        with all_or_none():
            self._check_losses(trl_trainer, result.training_loss)
        report = self._save(trl_trainer, before, count, result, started)
        trl_trainer.accelerator.free_memory()
        del trl_trainer
        gc.collect()
        return report

    # -- prepare

    def _finished(self) -> TrainReport | None:
        report, order = self.output / "report.json", self.output / "assignment.json"
        if not (report.is_file() and order.is_file()):
            return None
        if _Order.model_validate_json(order.read_text(encoding="utf-8")) != self._order():
            return None
        return TrainReport.model_validate_json(report.read_text(encoding="utf-8"))

    def _order(self) -> _Order:
        settings = self.config.model_dump(mode="json", include=set(DECISIVE))
        settings["loss"] = self.loss.model_dump(mode="json")
        return _Order(assignment=self.assignment, settings=settings)

    def _stage(self) -> RowCount:
        try:
            shutil.rmtree(self.work, ignore_errors=True)
            (self.output / "report.json").unlink(missing_ok=True)
            self.work.mkdir(parents=True)
            return stage_rows(Path(self.assignment.rows), self.assignment.algorithm, self.work / "rows.arrow")
        except OSError as error:
            raise SalusError(f"The training output {self.output} cannot be written ({error}); free it.") from error

    def _trl_trainer(self, models: _Models, count: RowCount) -> KTOTrainer | DPOTrainer:
        trl_class: Any = KTOTrainer if self.assignment.algorithm == "kto" else DPOTrainer
        try:
            trl_trainer: KTOTrainer | DPOTrainer = trl_class(
                model=models.champion,
                ref_model=models.reference,
                args=trl_arguments(self.config, self.assignment, count, self.work / "trl"),
                train_dataset=datasets.Dataset.from_file(str(self.work / "rows.arrow")),
                processing_class=models.tokenizer,
                peft_config=lora_config(self.config.lora) if self.config.lora else None,
            )
        except ValueError as error:
            raise SalusError(
                f"TRL refused the {self.assignment.algorithm.upper()} settings for {self.champion}: {error}"
            ) from error
        assert isinstance(trl_trainer.train_dataset, datasets.Dataset)
        if not len(trl_trainer.train_dataset):
            raise SalusError(
                f"Every prompt in {self.assignment.rows} is longer than train.max_length_tokens "
                f"({self.config.max_length_tokens}); raise it."
            )
        if _trainable(trl_trainer.model) == 0:
            raise SalusError(f"No parameter of {self.champion} would be trained; check train.lora.target_modules.")
        trl_trainer.remove_callback(PrinterCallback)
        if self.on_step is not None:
            trl_trainer.add_callback(_StepReporter(self.on_step))
        return trl_trainer

    def _load_model(self, folder: Path) -> PreTrainedModel:
        check_model_folder(folder)
        # LoRA keeps the frozen base in the computing dtype; a full fine-tune needs float32 master weights.
        half = self.on_gpu and self.config.dtype == "bfloat16" and self.config.lora is not None
        try:
            return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if half else torch.float32)
        except (OSError, ValueError, SafetensorError) as error:
            raise SalusError(f"The model folder {folder} cannot be loaded: {error}") from error

    def _reference_model(self) -> PreTrainedModel | None:
        """None where TRL's own reference, the model as it was loaded, is the right one: the champion."""
        reference = Path(self.assignment.reference.path)
        if self.config.reference == "champion" or reference == self.champion:
            return None
        return self._load_model(reference)

    # -- train

    def _adapter_now(self, trl_trainer: KTOTrainer | DPOTrainer) -> dict[str, torch.Tensor]:
        """The untrained adapter under the names it is saved by; empty for a full fine-tune."""
        if not isinstance(trl_trainer.model, PeftModel):
            return {}
        state = get_peft_model_state_dict(trl_trainer.model, save_embedding_layers=False)
        return {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in state.items()}

    def _check_losses(self, trl_trainer: KTOTrainer | DPOTrainer, mean_loss: float) -> None:
        losses = [(entry["step"], entry["loss"]) for entry in trl_trainer.state.log_history if "loss" in entry]
        for step, loss in [*losses, (trl_trainer.state.global_step, mean_loss)]:
            if not math.isfinite(loss):
                raise SalusError(
                    f"{self.name} diverged: its loss is {loss} by step {step}; lower "
                    f"train.{self.assignment.algorithm}.learning_rate (now {self.loss.learning_rate:g})."
                )

    # -- save

    def _save(
        self,
        trl_trainer: KTOTrainer | DPOTrainer,
        before: dict[str, torch.Tensor],
        count: RowCount,
        result: Any,
        started: float,
    ) -> TrainReport:
        # Gathering sharded weights takes every rank; writing them takes rank 0 alone.
        state = trl_trainer.accelerator.get_state_dict(trl_trainer.model) if self.config.fsdp else None
        report: TrainReport | None = None
        with all_or_none():
            if rank() == 0:
                try:
                    change = self._write_weights(trl_trainer, before, state)
                except OSError as error:
                    raise SalusError(f"The challenger in {self.output} cannot be written ({error}).") from error
                report = TrainReport(
                    algorithm=self.assignment.algorithm,
                    cycle=self.assignment.cycle,
                    challenger=PolicyRef(version=self.assignment.version, path=str(self.output / "merged")),
                    adapter=str(self.output / ("adapter" if before else "merged")),
                    rows=count.rows,
                    steps=trl_trainer.state.global_step,
                    train_s=result.metrics["train_runtime"],
                    wall_s=time.monotonic() - started,
                    workers=world_size(),
                    trainable_parameters=_trainable(trl_trainer.model),
                    adapter_change=change,
                    metrics=_metrics(trl_trainer.state, result.training_loss),
                )
                _write(self.output / "assignment.json", self._order())
                _write(self.output / "report.json", report)
                shutil.rmtree(self.work, ignore_errors=True)
        report = from_rank_zero(report)
        assert report is not None
        return report

    def _write_weights(
        self,
        trl_trainer: KTOTrainer | DPOTrainer,
        before: dict[str, torch.Tensor],
        state: dict[str, Any] | None,
    ) -> float:
        """Write adapter and merged policy, first under other names; return the root-mean-square change."""
        model = trl_trainer.accelerator.unwrap_model(trl_trainer.model)
        adapter, merged = self.work / "adapter", self.work / "merged"
        if before:
            model.save_pretrained(str(adapter), state_dict=state, save_embedding_layers=False)
            (adapter / "README.md").unlink(missing_ok=True)
            change = rms_change(before, load_file(adapter / ADAPTER_WEIGHTS))
            self._check_change(change)
            merge(self.champion, adapter, merged)
        else:
            stored = transformers.AutoConfig.from_pretrained(self.champion).dtype or torch.float32
            weights = model.state_dict() if state is None else state
            model.save_pretrained(merged, state_dict={name: each.to(stored) for name, each in weights.items()})
            copy_companions(self.champion, merged)
            shutil.copyfile(self.champion / "config.json", merged / "config.json")
            change = rms_change_on_disk(self.champion, merged)
            self._check_change(change)
        for folder in (adapter, merged):
            shutil.rmtree(self.output / folder.name, ignore_errors=True)
            if folder.is_dir():
                folder.rename(self.output / folder.name)
        return change

    def _check_change(self, change: float) -> None:
        if not (math.isfinite(change) and change > 0):
            raise SalusError(
                f"{self.name} changed the weights by {change} (root mean square); check its rows and its "
                f"learning rate ({self.loss.learning_rate:g})."
            )


class _StepReporter(TrainerCallback):
    """Tells `on_step` how far the training is."""

    def __init__(self, on_step: OnStep) -> None:
        self.on_step = on_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.on_step(state.global_step, state.max_steps)


def _silence() -> None:
    """No progress bars and no advice of the libraries: the loop reports progress itself."""
    # PEFT 0.21 asks transformers, and accelerate 1.15 asks torch, by an older name.
    for name in ("is_gradient_checkpointing", "broadcast_buffers"):
        warnings.filterwarnings("ignore", message=f"`{name}` is deprecated", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    check_model_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise SalusError(f"The tokenizer of {folder} cannot be loaded: {error}") from error
    if not tokenizer.chat_template:
        raise SalusError(
            f"The model {folder} has no chat template; use an instruction-tuned model, or add a chat_template.jinja."
        )
    return tokenizer


def _trainable(model: torch.nn.Module | None) -> int:
    assert model is not None
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def _metrics(state: TrainerState, mean_loss: float) -> dict[str, float]:
    """The mean loss, its first and last logged value, and the last value of each of TRL's own figures."""
    logs = [entry for entry in state.log_history if "loss" in entry]
    metrics = {"loss_mean": float(mean_loss)}
    if logs:
        metrics |= {"loss_first": float(logs[0]["loss"]), "loss_last": float(logs[-1]["loss"])}
    for entry in logs:
        figures = {name: float(value) for name, value in entry.items() if name not in ("loss", "step", "epoch")}
        metrics |= {name: value for name, value in figures.items() if math.isfinite(value)}
    return metrics


def _write(path: Path, record: Record) -> None:
    """Write a record whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    draft.replace(path)
