"""The training actor: an assignment in; an adapter, a merged policy and a report out (KTO or DPO, by TRL).

Imports no Ray; `training_loop` runs it inside Ray Train. Under torch.distributed every rank calls `train`
with the same assignment, and rank 0 writes. Torch and TRL are imported late: reading a config stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.records import Algorithm, Assignment, TrainReport

# The range Ethayarajh et al. (arXiv 2402.01306, Eq. 8) give for w_D * n_D / (w_U * n_U).
KTO_BALANCE = (1.0, 4.0 / 3.0)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
DpoLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard",
    "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
]  # fmt: skip


class Settings(BaseModel):
    """Frozen settings with strict names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSettings(Settings):
    """A fresh LoRA adapter on the champion; never on the output head, which TRL's loss reads directly."""

    rank: Count = 16
    # The update is scaled by alpha / rank.
    alpha: Count = 32
    dropout: float = Field(default=0.0, ge=0, lt=1)
    # Module names, or every linear layer but the output head.
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class Optimization(Settings):
    """What KTO and DPO share: how long, how fast and in which batches."""

    learning_rate: Positive = 5e-4
    epochs: Positive = 1.0
    # Rows (KTO) or pairs (DPO) per worker and forward pass.
    batch_size: Count = 8
    # Forward passes per optimizer step.
    gradient_accumulation: Count = 1
    # Share of all steps over which the learning rate rises.
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    scheduler: Scheduler = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    # Gradients are clipped to this norm.
    max_grad_norm: Positive = 1.0
    # Score all rows with the reference model once, before training: pays from the second epoch on.
    precompute_reference: bool = False


class KtoConfig(Optimization):
    """KTO on single rows (arXiv 2402.01306)."""

    # How strongly the policy is held to the reference model.
    beta: Positive = 0.1
    # `apo_zero_unpaired` needs no KL term, and so a third less computing.
    loss_type: Literal["kto", "apo_zero_unpaired"] = "kto"
    # (desirable, undesirable) loss weights, or by `kto_weights` from the rows.
    weights: Literal["auto"] | tuple[Positive, Positive] = "auto"

    @model_validator(mode="after")
    def _kl_needs_neighbours(self) -> Self:
        if self.loss_type == "kto" and self.batch_size < 2:
            raise ValueError(
                "kto.batch_size must be at least 2: the KL term pairs each prompt with its neighbour's "
                "answer; raise it, or take loss_type apo_zero_unpaired"
            )
        return self


class DpoConfig(Optimization):
    """DPO on pairs (arXiv 2305.18290); several losses may be summed by weight."""

    beta: Positive = 0.1
    # The small `sft` part keeps the chosen answers likely, which plain DPO lets slip.
    loss_type: tuple[DpoLoss, ...] = Field(default=("sigmoid", "sft"), min_length=1)
    loss_weights: tuple[float, ...] = (1.0, 0.2)
    # The share of pairs believed to be the wrong way round; read by `robust` and `exo_pair` alone.
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)

    @model_validator(mode="after")
    def _losses_fit(self) -> Self:
        if len(self.loss_type) != len(self.loss_weights):
            raise ValueError(
                f"dpo.loss_weights must have one weight for each of the {len(self.loss_type)} losses in "
                f"dpo.loss_type, not {len(self.loss_weights)}"
            )
        if self.label_smoothing and not {"robust", "exo_pair"} & set(self.loss_type):
            raise ValueError(
                "dpo.label_smoothing is read by the losses robust and exo_pair alone; add one or set it to 0"
            )
        if "exo_pair" in self.loss_type and not self.label_smoothing:
            raise ValueError("dpo.loss_type exo_pair needs dpo.label_smoothing above 0, for example 0.001")
        return self


class TrainConfig(Settings):
    """How challengers are trained; the defaults are those of small models on CPU cores."""

    algorithms: tuple[Algorithm, ...] = Field(default=("kto", "dpo"), min_length=1)
    # One Ray Train run per algorithm for the whole alignment, or one per cycle (gives GPUs back in between).
    resident: bool = True
    # The reference model of the loss: the cycle's champion, or the base model the run began with.
    reference: Literal["champion", "base"] = "champion"
    # None trains every weight.
    lora: LoraSettings | None = LoraSettings()
    kto: KtoConfig = KtoConfig()
    dpo: DpoConfig = DpoConfig()
    workers_per_run: Count = 2
    cpus_per_worker: float = Field(default=0.5, ge=0)
    gpus_per_worker: float = Field(default=0.0, ge=0)
    # Torch threads in each worker.
    threads_per_worker: Count = 1
    # Shard the model over the workers' GPUs (FSDP2) rather than copy it to each.
    fsdp: bool = False
    # Computing precision on GPUs; a CPU always computes in float32.
    dtype: Literal["float32", "bfloat16"] = "float32"
    # Saves GPU memory for a fifth more time; never used on a CPU.
    gradient_checkpointing: bool = False
    # Longer rows are cut on the right; rows whose prompt alone is longer are left out.
    max_length_tokens: Count = 512
    # Restarts of a run after a worker died; it goes on from its last finished assignment.
    max_failures: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.algorithms)) != len(self.algorithms):
            raise ValueError(
                f"train.algorithms names one algorithm twice ({', '.join(self.algorithms)}); name each once"
            )
        if self.fsdp and not self.gpus_per_worker:
            raise ValueError("train.fsdp shards over GPUs; set train.gpus_per_worker to 1, or train.fsdp to false")
        return self

    def loss(self, algorithm: Algorithm) -> KtoConfig | DpoConfig:
        """The settings of one algorithm."""
        return self.kto if algorithm == "kto" else self.dpo


def kto_weights(n_desirable: int, n_undesirable: int) -> tuple[float, float]:
    """Loss weights (w_D, w_U) such that w_D * n_desirable / (w_U * n_undesirable) lies in [1, 4/3].

    One of the two stays 1 (arXiv 2402.01306, Eq. 8); the other is raised to meet the middle of that range.
    Where a class is empty there is nothing to balance, and both are 1.
    """
    if not n_desirable or not n_undesirable:
        return 1.0, 1.0
    low, high = KTO_BALANCE
    balance = n_desirable / n_undesirable
    middle = (low + high) / 2
    if balance < low:
        return middle / balance, 1.0
    if balance > high:
        return 1.0, balance / middle
    return 1.0, 1.0


class Trainer:
    """Trains one challenger per assignment; holds no model between two of them.

    idle --train--> staged rows --TRL--> trained --rank 0--> adapter/, merged/, report.json --> idle
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    def train(self, assignment: Assignment, on_step: Callable[[int, int], None] | None = None) -> TrainReport:
        """Train as assigned and write `adapter/`, `merged/` and `report.json` to the assignment's output.

        `on_step(step, total)` is called after each optimizer step. An output that is already complete for
        this very assignment and config is returned as it is. The same seed gives the same weights on one
        machine with the same number of workers and threads. Raises SalusError, on every rank alike, for a
        missing or unusable model, unusable rows, settings TRL refuses, a loss that is not finite, and
        training that changed nothing.
        """
        from actors.training_run import TrainingRun

        return TrainingRun(self.config, assignment, on_step).report()
