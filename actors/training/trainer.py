"""The training actor: an assignment in; an adapter, a merged policy and a report out (KTO or DPO, by TRL).

Imports no Ray; `training_loop` runs it inside Ray Train. Under torch.distributed every rank calls `train`
with the same assignment, and rank 0 writes. Torch and TRL are imported late: reading a config stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from actors.contract.records import Algorithm, Assignment, TrainReport
from actors.training.config import Count, LoraSettings, Optimization, Positive, Workers

# The range Ethayarajh et al. (arXiv 2402.01306, Eq. 8) give for w_D * n_D / (w_U * n_U).
KTO_BALANCE = (1.0, 4.0 / 3.0)
DpoLoss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard",
    "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft",
]  # fmt: skip


class PreferenceOptimization(Optimization):
    """What KTO and DPO share beside how they optimize."""

    precompute_reference: bool = Field(
        default=False,
        description="score all rows with the reference model once, before training: pays from the second epoch on",
    )


class KtoConfig(PreferenceOptimization):
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


class DpoConfig(PreferenceOptimization):
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


class TrainConfig(Workers):
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
    # Longer rows are cut on the right; rows whose prompt alone is longer are left out.
    max_length_tokens: Count = 512
    checkpoint_every_steps: Count | None = Field(
        default=None,
        description="optimizer steps after which a training is saved, so that a worker that takes a dead one's place"
        " goes on from there, to the very same weights; None: it begins its assignment anew, which costs less than"
        " saving where an assignment takes minutes",
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.algorithms)) != len(self.algorithms):
            raise ValueError(
                f"train.algorithms names one algorithm twice ({', '.join(self.algorithms)}); name each once"
            )
        return self

    @model_validator(mode="after")
    def _saved_whole(self) -> Self:
        if self.fsdp and self.checkpoint_every_steps is not None:
            raise ValueError(
                "checkpoint_every_steps does not go with fsdp, whose sharded checkpoints are pickles in part and have"
                " not been tried; set one of the two to its default"
            )
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

    `checkpoints`: a folder that all ranks see, where the config asks for checkpoints; there is one for each assignment
    in the making.
    """

    def __init__(self, config: TrainConfig, checkpoints: Path | None = None) -> None:
        self.config = config
        self.checkpoints = checkpoints

    def train(self, assignment: Assignment, on_step: Callable[[int, int], None] | None = None) -> TrainReport:
        """Train as assigned and write `adapter/`, `merged/` and `report.json` to the assignment's output.

        `on_step(step, total)` is called after each optimizer step. An output that is already complete for
        this very assignment and config is returned as it is; one that was cut short goes on from its last whole
        checkpoint. The same seed gives the same weights on one machine with the same number of workers and
        threads, cut short or not. Raises SalusError, on every rank alike, for a missing or unusable model,
        unusable rows, settings TRL refuses, a loss that is not finite, and training that changed nothing; and
        FullDiskError, perhaps on one rank alone.
        """
        from actors.training.challenger import TrainingRun

        return TrainingRun(self.config, assignment, on_step, self.checkpoints).report()
