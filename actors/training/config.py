"""Settings of all training: adapter, workers, challengers, and what a judge's fine-tuning adds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from actors.contract.decides import Decides, decisive
from actors.contract.records import CHALLENGER_PATTERN, ROW_NAMES, ChallengerName, RowKind
from actors.contract.run_folder import MERGE, RESERVED, SFT
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.algorithms.settings import Count, Optimization, Positive, Settings
from actors.training.algorithms.sft import SftSettings
from actors.training.algorithms.table import ALGORITHMS, Algorithm, AnyChallenger, algorithm_of

# The challengers of a recipe that names none, and the settings that named them before `challengers` did.
DEFAULT: Mapping[str, Any] = {"kto": {}, "dpo": {}}
_NAME = re.compile(CHALLENGER_PATTERN)
_FORMER = ("algorithms", "kto", "dpo")


class LoraSettings(Settings):
    """A fresh LoRA adapter on the model; never on the output head, which TRL's loss reads directly."""

    rank: Count = Field(default=16, description="rank of the update; the adapter's size grows with it")
    alpha: Count = Field(default=32, description="the update is scaled by alpha / rank")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the adapter's inputs left out at random in training"
    )
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field(
        default="all-linear", description="module names, or every linear layer but the output head"
    )


class Workers(Settings):
    """The workers of one Ray Train run, their devices, and the precision they compute in."""

    workers_per_run: Count = Field(default=2, description="workers of one run; each trains on its share of the rows")
    cpus_per_worker: Annotated[float, Decides.NOTHING] = Field(
        default=0.5, ge=0, description="logical CPUs Ray reserves for one worker"
    )
    gpus_per_worker: Annotated[float, Decides.RUN] = Field(
        default=0.0, ge=0, description="GPUs Ray reserves for one worker; 0: it trains on the CPU"
    )
    threads_per_worker: Count = Field(default=1, description="torch threads in each worker")
    fsdp: bool = Field(
        default=False, description="shard the model over the workers' GPUs (FSDP2) rather than copy it to each"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="computing precision. bfloat16 is quicker on a GPU, and on a CPU with instructions for it; another"
        " CPU computes in float32 all the same",
    )
    gradient_checkpointing: Annotated[bool, Decides.RUN] = Field(
        default=False, description="saves GPU memory for a fifth more time; never used on a CPU"
    )
    log_every_steps: Annotated[Count, Decides.NOTHING] = Field(
        default=1,
        description="optimizer steps between two rows of the training curve; each row is a rendezvous of all workers",
    )
    max_failures: Annotated[int, Decides.NOTHING] = Field(
        default=1, ge=0, description="restarts of a run after a worker died; what was finished is kept"
    )
    collective_timeout_s: Annotated[int | None, Decides.NOTHING] = Field(
        default=None,
        ge=600,
        description="how long workers wait for each other, as while one writes the weights; None: half an hour, and a"
        " minute for each GiB of weights",
    )

    @property
    def on_gpu(self) -> bool:
        """Whether the workers compute on GPUs."""
        return self.gpus_per_worker > 0

    @model_validator(mode="after")
    def _fsdp_needs_gpus(self) -> Self:
        if self.fsdp and not self.gpus_per_worker:
            raise ValueError("fsdp shards over GPUs; set gpus_per_worker to 1, or fsdp to false")
        return self


def with_challengers(train: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's section `train` in which each challenger has an entry of its own, and each entry its algorithm.

    A challenger whose entry is null is left out.

    Before challengers had names, `algorithms` listed them (both, where it was left out), and `kto` and `dpo` held
    their settings.

    Raises:
        ValueError: it has settings of both kinds, or an entry without an algorithm.
    """
    former = [name for name in _FORMER if name in train]
    kept = {name: value for name, value in train.items() if name not in former}
    if not former:
        given = train.get("challengers", DEFAULT)
        if not isinstance(given, Mapping):
            return kept
        named = {name: settings for name, settings in given.items() if settings is not None}
        return kept | {"challengers": {name: _entry(name, settings) for name, settings in named.items()}}
    if "challengers" in train:
        section = "challengers" if former[0] == "algorithms" else f"challengers.{former[0]}"
        raise ValueError(f"'{former[0]}' was replaced by '{section}', which this recipe has too; use only the latter")
    names = train.get("algorithms", ("kto", "dpo"))
    if not isinstance(names, list | tuple) or not names or not all(name in ("kto", "dpo") for name in names):
        raise ValueError(f"'algorithms' may list kto and dpo, not {names!r}; name others under 'challengers'")
    if len(set(names)) != len(names):
        raise ValueError(f"'algorithms' names one algorithm twice ({', '.join(names)}); name each once")
    return kept | {"challengers": {name: _entry(name, train.get(name) or {}) for name in names}}


def _entry(name: str, settings: Any) -> Any:
    """The settings of one challenger, which is of the algorithm that it is called by where they name none."""
    if not _NAME.fullmatch(str(name)):
        raise ValueError(f"challenger {name!r} needs another name: small letters, digits, and hyphens between them")
    if not isinstance(settings, Mapping):
        return settings
    given = {"algorithm": name} | dict(settings)
    if given["algorithm"] not in tuple(ALGORITHMS):
        said = f", not {given['algorithm']!r}" if "algorithm" in settings else ""
        raise ValueError(f"challengers.{name}.algorithm must be one of {', '.join(ALGORITHMS)}{said}")
    return given


class PolicyTraining(Workers):
    """What the trainings of policies have in common: the adapter, the length of rows, checkpoints."""

    lora: LoraSettings | None = Field(
        default=LoraSettings(), description="the adapter that is trained; None: every weight is"
    )
    max_length_tokens: Count = Field(
        default=512,
        description="longer rows are cut on the right; rows whose prompt alone is longer are left out",
    )
    checkpoint_every_steps: Annotated[Count | None, Decides.NOTHING] = Field(
        default=None,
        description="optimizer steps after which a training is saved. A worker that takes a dead one's place goes on"
        " from there, to the very same weights. None: it begins its assignment anew, which costs less than saving"
        " where an assignment takes minutes",
    )

    @model_validator(mode="after")
    def _saved_whole(self) -> Self:
        if self.fsdp and self.checkpoint_every_steps is not None:
            raise ValueError(
                "checkpoint_every_steps does not go with fsdp, whose sharded checkpoints are pickles in part and have"
                " not been tried. Set one of the two to its default"
            )
        return self


class TrainConfig(PolicyTraining):
    """How challengers are trained; the defaults are those of small models on CPU cores."""

    challengers: Annotated[dict[ChallengerName, AnyChallenger], Decides.RUN] = Field(
        default={"kto": KtoConfig(), "dpo": DpoConfig()},
        min_length=1,
        max_length=4,
        description="by name, who may replace the champion: an algorithm and its settings. Each has workers of its own."
        " A recipe that names some names all. null leaves one out",
    )
    resident: Annotated[bool, Decides.NOTHING] = Field(
        default=True,
        description="one Ray Train run per challenger for the whole alignment; false: one per cycle, which gives GPUs"
        " back in between",
    )
    at_once: Annotated[bool, Decides.NOTHING] = Field(
        default=True,
        description="all challengers train at the same time; false: one after the other, which takes resident false",
    )
    workers: Annotated[dict[ChallengerName, Count], Decides.RUN] = Field(
        default={},
        description="workers of a challenger's own run, by its name, where not workers_per_run. An optimizer step then"
        " has as many passes as bring it nearest to the rows that it has with workers_per_run",
    )
    reference: Literal["champion", "base"] = Field(
        default="champion",
        description="the reference model of the loss: the cycle's champion, or the base model the run began with",
    )

    @model_validator(mode="before")
    @classmethod
    def _former_settings(cls, given: Any) -> Any:
        return with_challengers(given) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _named_as_they_are(self) -> Self:
        for name, settings in self.challengers.items():
            if name in (*RESERVED, SFT, MERGE):
                raise ValueError(f"no challenger can be called {name}, a name that Salus uses itself; choose another")
            if name in ALGORITHMS and name != settings.algorithm:
                raise ValueError(
                    f"challenger {name} is called by an algorithm and is of {settings.algorithm}; call it"
                    f" {settings.algorithm}-{name}, for example"
                )
        return self

    @model_validator(mode="after")
    def _trained_by_its_workers(self) -> Self:
        if unknown := sorted(set(self.workers) - set(self.challengers)):
            raise ValueError(f"workers names {unknown[0]}, which is no challenger of the recipe; leave it out")
        if self.resident and not self.at_once:
            raise ValueError(
                "at_once false trains one challenger after the other, so that a run must end when it has trained: set"
                " resident to false as well"
            )
        return self

    def of(self, name: ChallengerName) -> TrainConfig:
        """These settings as the run of one challenger has them, with its own workers."""
        count = self.workers.get(name, self.workers_per_run)
        if count == self.workers_per_run:
            return self.model_copy(update={"workers": {}})
        settings = self.challengers[name]
        passes = max(1, round(settings.gradient_accumulation * self.workers_per_run / count))
        challengers = self.challengers | {name: settings.model_copy(update={"gradient_accumulation": passes})}
        return self.model_copy(update={"workers_per_run": count, "workers": {}, "challengers": challengers})

    @property
    def algorithms(self) -> dict[ChallengerName, Algorithm]:
        """The algorithm of each challenger."""
        return {name: algorithm_of(settings) for name, settings in self.challengers.items()}

    @property
    def row_kinds(self) -> tuple[RowKind, ...]:
        """What the challengers learn from, once each; those of one kind share their rows."""
        wanted = {ALGORITHMS[algorithm].rows for algorithm in self.algorithms.values()}
        return tuple(kind for kind in ROW_NAMES if kind in wanted)


class SftTrainConfig(Optimization, PolicyTraining):
    """How the deployed policy is fine-tuned on demonstrations before the cycles."""

    learning_rate: Positive = Field(default=2e-4, description="tiny models need ten times as much")
    epochs: Positive = Field(default=3.0, description="times each demonstration is seen")

    def as_training(self) -> TrainConfig:
        """These settings as those of a training whose only job is this one."""
        own = self.model_dump(include=set(SftTrainConfig.model_fields))
        shared = {name: value for name, value in own.items() if name in TrainConfig.model_fields}
        settings = SftSettings(**{name: own[name] for name in Optimization.model_fields})
        return TrainConfig.model_validate(shared).model_copy(update={"challengers": {SFT: settings}})


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
    spliced: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="of the answers labelled Accept, the share that is learnt again with a refusal behind it, and again"
        " with one before it, both as Accept. A judge that never saw such answers calls them refusals",
    )

    def decisive(self) -> dict[str, Any]:
        """The settings that decide what comes out, as JSON."""
        return self.model_dump(mode="json", include=set(decisive(type(self))))
