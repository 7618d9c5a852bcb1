"""Settings of all training: adapter, optimization, workers, and what KTO, DPO and a judge's fine-tuning add."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.contract.decides import Decides, decisive
from actors.contract.records import Algorithm

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
    """A fresh LoRA adapter on the model; never on the output head, which TRL's loss reads directly."""

    rank: Count = 16
    alpha: Count = Field(default=32, description="the update is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field(
        default="all-linear", description="module names, or every linear layer but the output head"
    )


class Optimization(Settings):
    """How long, how fast and in which batches."""

    learning_rate: Positive = 5e-4
    epochs: Positive = 1.0
    batch_size: Count = Field(default=8, description="rows (DPO: pairs) per worker and forward pass")
    gradient_accumulation: Count = Field(default=1, description="forward passes per optimizer step")
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="share of all steps over which the rate rises")
    scheduler: Scheduler = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: Positive = Field(default=1.0, description="gradients are clipped to this norm")


class Workers(Settings):
    """The workers of one Ray Train run, their devices, and the precision they compute in."""

    workers_per_run: Count = 2
    cpus_per_worker: Annotated[float, Decides.NOTHING] = Field(
        default=0.5, ge=0, description="logical CPUs Ray reserves for one worker"
    )
    gpus_per_worker: Annotated[float, Decides.RUN] = Field(default=0.0, ge=0)
    threads_per_worker: Count = Field(default=1, description="torch threads in each worker")
    fsdp: bool = Field(
        default=False, description="shard the model over the workers' GPUs (FSDP2) rather than copy it to each"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="computing precision on GPUs; a CPU always computes in float32"
    )
    gradient_checkpointing: Annotated[bool, Decides.RUN] = Field(
        default=False, description="saves GPU memory for a fifth more time; never used on a CPU"
    )
    max_failures: Annotated[int, Decides.NOTHING] = Field(
        default=1, ge=0, description="restarts of a run after a worker died; what was finished is kept"
    )

    @model_validator(mode="after")
    def _fsdp_needs_gpus(self) -> Self:
        if self.fsdp and not self.gpus_per_worker:
            raise ValueError("fsdp shards over GPUs; set gpus_per_worker to 1, or fsdp to false")
        return self


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

    algorithms: Annotated[tuple[Algorithm, ...], Decides.RUN] = Field(default=("kto", "dpo"), min_length=1)
    # One Ray Train run per algorithm for the whole alignment, or one per cycle (gives GPUs back in between).
    resident: Annotated[bool, Decides.NOTHING] = True
    # The reference model of the loss: the cycle's champion, or the base model the run began with.
    reference: Literal["champion", "base"] = "champion"
    # None trains every weight.
    lora: LoraSettings | None = LoraSettings()
    # Each decides the training of its own algorithm alone (`loss`).
    kto: Annotated[KtoConfig, Decides.RUN] = KtoConfig()
    dpo: Annotated[DpoConfig, Decides.RUN] = DpoConfig()
    # Longer rows are cut on the right; rows whose prompt alone is longer are left out.
    max_length_tokens: Count = 512
    checkpoint_every_steps: Annotated[Count | None, Decides.NOTHING] = Field(
        default=None,
        description="optimizer steps after which a training is saved. A worker that takes a dead one's place goes on"
        " from there, to the very same weights. None: it begins its assignment anew, which costs less than saving"
        " where an assignment takes minutes",
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
                " not been tried. Set one of the two to its default"
            )
        return self

    def loss(self, algorithm: Algorithm) -> KtoConfig | DpoConfig:
        """The settings of one algorithm."""
        return self.kto if algorithm == "kto" else self.dpo


class JudgeTrainConfig(Optimization, Workers):
    """How `salus judge train` fine-tunes a judge: our choices, as the paper gives none."""

    learning_rate: Positive = Field(default=2e-4, description="tiny models need ten times as much")
    epochs: Positive = Field(default=3.0, description="times each train row is seen, repetitions apart")
    workers_per_run: Count = Field(default=1, description="labelled rows are few: one worker is often enough")
    cpus_per_worker: Annotated[float, Decides.NOTHING] = Field(
        default=1.0, ge=0, description="logical CPUs Ray reserves for one worker"
    )
    # Not marked, unlike a challenger's: the reports of judges trained by earlier versions name it.
    gradient_checkpointing: bool = Field(
        default=False, description="saves GPU memory for a fifth more time; never used on a CPU"
    )
    lora: LoraSettings = Field(default=LoraSettings(), description="the adapter; every other weight stays")
    held_out: float = Field(
        default=0.2, gt=0, le=0.5, description="share of the prompts kept from training, to measure the judge on"
    )
    balance: Literal["oversample", "none"] = Field(
        default="oversample",
        description="repeat rows of rare labels until all labels are as frequent. A judge that has seen one Caution"
        " in twenty rows does well by never saying it, and then over-caution passes unseen",
    )
    max_repeats: Count = Field(
        default=8, description="most copies of one row: a handful of rows is learnt by heart, not understood"
    )

    def decisive(self) -> dict[str, Any]:
        """The settings that decide what comes out, as JSON."""
        return self.model_dump(mode="json", include=set(decisive(type(self))))
