"""Settings of the judge: its regimen and model, what it must reach to be trusted, and how it is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from actors.contract.decides import Decides
from actors.engine.config import EngineConfig
from actors.judges.ensemble import How
from actors.judges.harmfulness import PROMPT_PREFIX as HARMFULNESS_PROMPTS
from actors.judges.remote_config import RemoteConfig
from actors.judges.template import REQUEST_PREFIX
from actors.training.config import JudgeTrainConfig
from pipelines.config.section import Section

Regimen = Literal["SELF", "LMA", "EXT", "RULES", "GUARD", "REMOTE"]


class TrustThresholds(Section):
    """What a judge must reach, our choice: kappa from 0.6 on is called substantial (Landis and Koch, 1977)."""

    min_kappa: float = Field(0.6, ge=-1, le=1, description="Cohen's kappa with the human labels")
    min_accuracy: float = Field(0.8, ge=0, le=1)
    max_ece: float = Field(0.1, ge=0, le=1, description="expected calibration error after temperature scaling")
    min_refuse_recall: float = Field(
        0.7, ge=0, le=1, description="share of human Refuse the judge sees: one that misses them hides over-refusal"
    )
    min_n: int = Field(200, ge=1, description="answers with a label from both; fewer decide nothing")
    min_coverage: float = Field(0.8, ge=0, le=1, description="share of the answers the judge gave a label for")


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
    parameters_b: Annotated[float | None, Decides.RUN] = Field(None, gt=0)
    prompt: str = Field("cares-v2", description="versioned template in actors/judges/prompts/; guard-... for GUARD")
    remote: RemoteConfig | None = Field(None, description="the server of REMOTE")
    ensemble: EnsembleConfig | None = Field(None, description="further judges of every answer; None: one judges")
    min_coverage: float = Field(
        0.0, ge=0, le=1, description="answers whose labels had less probability stay unlabelled"
    )
    max_missing: Annotated[float, Decides.RUN] = Field(
        0.2, ge=0, le=1, description="a step with more unlabelled answers stops the run"
    )
    actors: Annotated[int, Decides.NOTHING] = Field(1, ge=1)
    cpus_per_actor: Annotated[float, Decides.NOTHING] = Field(1.0, ge=0)
    engine: EngineConfig = EngineConfig()
    shard_timeout_s: Annotated[float, Decides.NOTHING] = Field(3600.0, gt=0, description="the same of a judge")
    truth: Annotated[Literal["clinic", "refusal_rules"] | None, Decides.RUN] = Field(
        None, description="reference labels reported beside the judge's, never trained on or selected by"
    )
    # What is known of the judge, and how another would be trained, changes none of its labels.
    calibration: Annotated[str | None, Decides.NOTHING] = Field(
        None, description="calibration.json of `salus judge calibrate`: whether this judge may select policies"
    )
    trust: Annotated[TrustThresholds, Decides.NOTHING] = Field(
        TrustThresholds(), description="what it must reach against human labels"
    )
    accept_unreliable: Annotated[bool, Decides.NOTHING] = Field(
        False, description="let a judge select policies that was not measured or falls short; recorded with the reason"
    )
    train: Annotated[JudgeTrainConfig, Decides.NOTHING] = Field(
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
