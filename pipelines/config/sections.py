"""The sections of a recipe that say where things come from, who judges, and where actors are placed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.engine.config import EngineConfig
from actors.engine.port import Sampling
from actors.judges.ensemble import How
from actors.judges.harmfulness import PROMPT_PREFIX as HARMFULNESS_PROMPTS
from actors.judges.remote_config import RemoteConfig
from actors.judges.template import REQUEST_PREFIX
from actors.training.config import JudgeTrainConfig
from pipelines.data.attacks.styles import StyleConfig
from pipelines.data.sets.egida import EgidaConfig
from pipelines.data.sets.or_bench import OrBenchConfig
from pipelines.data.sets.tabular import ColumnMapping
from pipelines.data.split import SplitFractions
from pipelines.judges.calibration_report import Regimen
from pipelines.judges.trust import TrustThresholds


class Section(BaseModel):
    """A frozen part of a recipe; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Section):
    """The deployed policy the run begins with."""

    source: Literal["clinic", "medsafety", "folder", "hub"] = "folder"
    path: str | None = Field(None, description="model folder, or hub id")
    parameters_b: float | None = Field(
        None, gt=0, description="size in 10^9 parameters, for the plan of a model that is not on disk"
    )

    @model_validator(mode="after")
    def _needs_path(self) -> ModelConfig:
        if self.source in ("folder", "hub") and not self.path:
            raise ValueError(f"source {self.source!r} needs path: a model folder or a hub id")
        return self


class DataConfig(Section):
    """The safety prompts, and how many of them each step uses."""

    source: Literal["clinic", "medsafety", "cares", "or_bench", "egida", "tabular"] = "clinic"
    path: str | None = Field(
        None, description="local file or folder; without it CARES, OR-Bench and Egida are read from the hub"
    )
    columns: ColumnMapping | None = Field(None, description="which column is what, for source tabular")
    or_bench: OrBenchConfig = Field(OrBenchConfig(), description="what is read, for source or_bench")
    egida: EgidaConfig = Field(EgidaConfig(), description="what is read, for source egida")
    styles: StyleConfig | None = Field(None, description="attack styles to wrap prompts in; None: as in the source")
    train_per_cycle: int = Field(300, ge=1, description="fresh train prompts a cycle")
    validation: int | None = Field(None, ge=1, description="most validation prompts; None: all")
    test: int | None = Field(None, ge=1, description="most test prompts; None: all")
    split: SplitFractions = Field(
        SplitFractions(), description="shares of base prompts; clinic and medsafety come split"
    )
    probe: Literal["xstest", "or-bench"] | None = Field(
        None,
        description="further harmless prompts whose refusals are reported, base against champion: XSTest's safe ones,"
        " or OR-Bench's hard thousand",
    )
    probe_path: str | None = Field(
        None,
        description="folder of the probe's files; None: xstest or or-bench below path, and where the latter is not"
        " there the hub",
    )
    prompts_per_shard: int = Field(75, ge=1, description="prompts one generator answers at a time")

    @property
    def shards_per_cycle(self) -> int:
        """Files of prompts a cycle answers, where the split has as many."""
        return -(-self.train_per_cycle // self.prompts_per_shard)

    @model_validator(mode="after")
    def _needs_columns(self) -> DataConfig:
        if self.source == "tabular" and (self.columns is None or self.path is None):
            raise ValueError("source 'tabular' needs path and columns (which column is the prompt, the level, ...)")
        if self.source == "or_bench" and self.probe == "or-bench":
            raise ValueError("probe 'or-bench' holds the prompts that source 'or_bench' trains on; take xstest")
        if self.probe_path is not None and self.probe is None:
            raise ValueError("probe_path has no probe: set probe to xstest or or-bench, or leave it out")
        return self


class GenerateConfig(Section):
    """The generator pool."""

    actors: int = Field(1, ge=1)
    cpus_per_actor: float = Field(1.0, ge=0, description="logical CPUs Ray reserves for one generator")
    sampling: Sampling = Sampling()
    evaluation_max_tokens: int | None = Field(
        None, ge=1, description="longest greedy answer in evaluation; None: as in sampling"
    )
    engine: EngineConfig = EngineConfig()
    shard_timeout_s: float = Field(
        3600.0, gt=0, description="a generator that takes longer over one shard is ended and another put in its place"
    )

    def greedy(self) -> Sampling:
        """How the validation and test splits are answered."""
        return Sampling(k=1, temperature=0.0, max_tokens=self.evaluation_max_tokens or self.sampling.max_tokens)

    @property
    def longest_answer(self) -> int:
        """Of sampled and of greedy answers, in tokens."""
        return max(self.sampling.max_tokens, self.greedy().max_tokens)


class EnsembleConfig(Section):
    """Judges that are asked beside the regimen's own and need no engine, and how their scores are pooled."""

    also: tuple[Literal["RULES", "REMOTE"], ...] = Field(min_length=1)
    how: How = "mean"
    prompt: str = Field("cares-v2", description="template of a REMOTE judge beside another")


class JudgeConfig(Section):
    """The judge pool: who labels the answers that are trained on and selected by."""

    regimen: Regimen = Field(
        "EXT",
        description="SELF: the champion; LMA: an external model as is; EXT: one fine-tuned as judge;"
        " RULES: refusal rules, no model; GUARD: a safe/unsafe model, and the rules for what it finds safe;"
        " REMOTE: a model behind an OpenAI-compatible server",
    )
    source: Literal["clinic", "folder", "hub"] = "folder"
    path: str | None = Field(None, description="judge model folder or hub id (LMA, EXT, GUARD)")
    parameters_b: float | None = Field(None, gt=0)
    prompt: str = Field("cares-v2", description="versioned template in actors/judges/prompts/; guard-... for GUARD")
    remote: RemoteConfig | None = Field(None, description="the server of REMOTE")
    ensemble: EnsembleConfig | None = Field(None, description="further judges of every answer; None: one judges")
    min_coverage: float = Field(
        0.0, ge=0, le=1, description="answers whose labels had less probability stay unlabelled"
    )
    max_missing: float = Field(0.2, ge=0, le=1, description="a step with more unlabelled answers stops the run")
    actors: int = Field(1, ge=1)
    cpus_per_actor: float = Field(1.0, ge=0)
    engine: EngineConfig = EngineConfig()
    shard_timeout_s: float = Field(3600.0, gt=0, description="the same of a judge")
    truth: Literal["clinic", "refusal_rules"] | None = Field(
        None, description="reference labels reported beside the judge's, never trained on or selected by"
    )
    calibration: str | None = Field(
        None, description="calibration.json of `salus judge calibrate`: whether this judge may select policies"
    )
    trust: TrustThresholds = Field(TrustThresholds(), description="what it must reach against human labels")
    accept_unreliable: bool = Field(
        False, description="let a judge select policies that was not measured or falls short; recorded with the reason"
    )
    train: JudgeTrainConfig = Field(
        JudgeTrainConfig(), description="how `salus judge train` makes an EXT judge of it; no other command looks here"
    )

    @model_validator(mode="after")
    def _needs_path(self) -> JudgeConfig:
        if self.regimen == "GUARD" and self.source == "clinic":
            raise ValueError("regimen GUARD needs source folder or hub: the clinic builds no guard")
        if self.regimen in ("LMA", "EXT", "GUARD") and self.source != "clinic" and not self.path:
            raise ValueError(f"regimen {self.regimen} needs path: the judge's model folder or hub id")
        return self

    @model_validator(mode="after")
    def _asks_what_it_reads(self) -> JudgeConfig:
        if self.regimen == "GUARD" and not self.prompt.startswith("guard-"):
            raise ValueError(f"regimen GUARD needs prompt: guard-v1, as {self.prompt} does not ask for safe or unsafe")
        label_prompts = (self.prompt if self.regimen != "GUARD" else "", self.ensemble.prompt if self.ensemble else "")
        for prompt in label_prompts:
            if prompt.startswith("guard-"):
                raise ValueError(f"{prompt} asks for safe or unsafe; it goes with regimen GUARD only")
            if prompt.startswith(REQUEST_PREFIX):
                raise ValueError(f"{prompt} asks about requests alone; it goes with publish.guard only")
            if prompt.startswith(HARMFULNESS_PROMPTS):
                raise ValueError(f"{prompt} asks for a score from 1 to 5; name it as harmfulness.prompt")
        return self

    @model_validator(mode="after")
    def _voices(self) -> JudgeConfig:
        if len(set(self.voices)) < len(self.voices):
            raise ValueError(f"the judges {', '.join(self.voices)} hold one twice; ensemble.also names others")
        if "REMOTE" in self.voices and self.remote is None:
            raise ValueError("regimen REMOTE needs remote: base_url and model of an OpenAI-compatible server")
        return self

    @property
    def voices(self) -> tuple[str, ...]:
        """Who is asked about every answer: the regimen, and whoever is beside it."""
        return (self.regimen, *(self.ensemble.also if self.ensemble is not None else ()))

    @property
    def remote_prompt(self) -> str:
        """The template a remote judge fills."""
        return self.ensemble.prompt if self.regimen != "REMOTE" and self.ensemble is not None else self.prompt

    @property
    def scores_numbers(self) -> bool:
        """Whether the regimen's own judge, the first that is asked, is a model that follows any prompt."""
        return self.regimen not in ("RULES", "GUARD")

    @property
    def has_engine(self) -> bool:
        """Whether a judge actor holds a model."""
        return self.regimen not in ("RULES", "REMOTE")


class ClusterConfig(Section):
    """Where the run lives: an embedded Ray on this machine, or a cluster that is already up."""

    address: str | None = Field(None, description='Ray address ("auto" on a cluster); None: embedded')
    logical_cpus: int | None = Field(
        None,
        ge=1,
        description="CPU slots of the embedded Ray; None: what the plan needs, so a laptop's cores are shared",
    )
    gpus: int | None = Field(None, ge=0, description="GPUs of the embedded Ray; None: those present")
    memory_gib: float | None = Field(None, gt=0, description="memory the plan may use; None: what is free")
    object_store_gib: float = Field(0.5, ge=0.1)
    wait_s: float = Field(600.0, gt=0, description="longest wait for actors to start")
    lease_s: float = Field(
        60.0,
        ge=15,
        description="a run folder whose process gave no sign of life for so long (it gives one every 3 s) may be"
        " taken over by another",
    )
