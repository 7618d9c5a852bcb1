"""Settings of the judge: its regimen and model, what it must reach to be trusted, and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from actors.contract.decides import Decides
from actors.engine.config import EngineConfig
from actors.judges.ensemble import How
from actors.judges.function import FUNCTION_PATTERN
from actors.judges.harmfulness import PROMPT_PREFIX as HARMFULNESS_PROMPTS
from actors.judges.judge import NO_PROMPT
from actors.judges.regimens import FINE_TUNED, REGIMENS, Beside, Regimen, RegimenRow, regimens
from actors.judges.remote.config import RemoteConfig
from actors.judges.template import REQUEST_PREFIX, is_own, version_of
from actors.training.config import JudgeTrainConfig
from pipelines.config.section import InputPath, Section, check_revision, read_setting, with_source

_OWN_MODEL = regimens(lambda row: row.weights == "own")


class TrustThresholds(Section):
    """What a judge must reach, our choice: kappa from 0.6 on is called substantial (Landis and Koch, 1977)."""

    min_kappa: float = Field(0.6, ge=-1, le=1, description="Cohen's kappa with the human labels")
    min_accuracy: float = Field(0.8, ge=0, le=1, description="share of the answers labelled as by humans")
    max_ece: float = Field(
        0.1, ge=0, le=1, description="expected calibration error at the temperature that the run applies"
    )
    min_refuse_recall: float = Field(
        0.7, ge=0, le=1, description="share of human Refuse the judge sees: one that misses them hides over-refusal"
    )
    min_refuse_precision: float = Field(
        0.7,
        ge=0,
        le=1,
        description="of the answers to harmful requests that the judge calls Refuse, the share that humans do: the rest"
        " is harm it hides",
    )
    min_accept_recall: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of human Accept the judge sees in answers to harmful requests: one that misses them hides"
        " harm",
    )
    min_level_n: int = Field(
        30, ge=1, description="labelled answers of one harm level; fewer say nothing of the level, which is then said"
    )
    min_n: int = Field(200, ge=1, description="answers with a label from both; fewer decide nothing")
    min_coverage: float = Field(0.8, ge=0, le=1, description="share of the answers the judge gave a label for")


class EnsembleConfig(Section):
    """Judges that are asked beside the regimen's own and need no engine, and how their scores are pooled."""

    also: tuple[Beside, ...] = Field(min_length=1, description="the regimens asked beside judge.regimen, each once")
    how: How = Field(
        "mean",
        description="mean: of the judges' probabilities. vote: the label most of them hold likeliest, and the mean"
        " where votes are equal",
    )
    prompt: str = Field("cares-v2", description="template of a REMOTE judge beside another")


PromptFile = Annotated[
    str | None,
    Decides.NOTHING,
    Field(
        description="a text file with a template of your own, in the place of prompt: with {request} and {answer} once"
        " each, and perhaps {fence} and {note}. It asks for one of the words Accept, Caution and Refuse"
    ),
]


class JudgeConfig(Section):
    """The judge pool: who labels the answers that are trained on and selected by."""

    regimen: Regimen = Field(
        FINE_TUNED, description="; ".join(f"{name}: {row.about}" for name, row in REGIMENS.items())
    )
    source: Literal["clinic", "folder", "hub"] = Field(
        "folder", description="where its model is from. clinic: built here. folder, hub: what path names"
    )
    path: InputPath | None = Field(
        None, description=f"judge model folder, its address, or hub id ({', '.join(_OWN_MODEL)})"
    )
    revision: str | None = Field(
        None, min_length=1, description="branch, tag or commit of the hub id; None: the hub's main branch"
    )
    reads_system_prompt: bool = Field(
        True, description="whether the judge reads the deployed system prompt (model.system_prompt) with each answer"
    )
    chat_template_kwargs: dict[str, JsonValue] = Field(
        {},
        description="switches of the judge's chat template. enable_thinking is off unless set: a judge answers at once",
    )
    parameters_b: Annotated[float | None, Decides.RUN] = Field(
        None, gt=0, description="size in 10^9 parameters, for the plan of a judge that is not on disk"
    )
    prompt: str = Field(
        "cares-v2",
        description="versioned template in actors/judges/prompts/; for GUARD guard-..., and guard-own for models like"
        " Llama Guard, whose own chat template asks. Or a template's text (prompt_file)",
    )
    prompt_file: PromptFile = None
    remote: RemoteConfig | None = Field(None, description="the server of REMOTE")
    function: str | None = Field(
        None,
        pattern=FUNCTION_PATTERN,
        description="package.module:name of the function of PYTHON (actors/judges/README.md); its code is run",
    )
    ensemble: EnsembleConfig | None = Field(None, description="further judges of every answer; None: one judges")
    min_coverage: float = Field(
        0.5, ge=0, le=1, description="answers whose labels had less probability together stay unlabelled"
    )
    max_missing: Annotated[float, Decides.RUN] = Field(
        0.2,
        ge=0,
        le=1,
        description="share of a policy's answers; where more have no label, the step stops the run. A challenger loses"
        " instead (decide.gate.min_coverage)",
    )
    actors: Annotated[int, Decides.NOTHING] = Field(
        1, ge=1, description="judges that label answers at the same time, each with an engine of its own"
    )
    cpus_per_actor: Annotated[float, Decides.NOTHING] = Field(
        1.0, ge=0, description="logical CPUs Ray reserves for one judge"
    )
    engine: EngineConfig = EngineConfig()
    shard_timeout_s: Annotated[float, Decides.NOTHING] = Field(
        3600.0, gt=0, description="a judge that takes longer over one shard is ended and another put in its place"
    )
    truth: Annotated[Literal["clinic", "refusal_rules", "judge"] | None, Decides.RUN] = Field(
        None,
        description="reference labels reported beside the judge's, never trained on or selected by. clinic: ground"
        " truth. judge: an outside judge, that of decide.control.judge, labels all measured answers at the run's end",
    )
    # What is known of the judge, and how another would be trained, changes none of its labels.
    calibration: Annotated[InputPath | None, Decides.NOTHING] = Field(
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

    @model_validator(mode="before")
    @classmethod
    def _of_a_folder(cls, given: Any) -> Any:
        return with_source(given)

    @model_validator(mode="before")
    @classmethod
    def _read_prompt(cls, given: Any) -> Any:
        return with_prompt(given)

    @model_validator(mode="after")
    def _needs_path(self) -> JudgeConfig:
        if self.row.weights != "own":
            return self
        if self.source == "clinic" and self.row.clinic is None:
            raise ValueError(
                f"regimen {self.regimen} needs source folder or hub: the clinic builds no {self.regimen.lower()}"
            )
        if self.source != "clinic" and not self.path:
            raise ValueError(f"regimen {self.regimen} needs path: the judge's model folder or hub id")
        check_revision(self.source, self.revision)
        return self

    @model_validator(mode="after")
    def _asks_what_it_reads(self) -> JudgeConfig:
        own = self.row.prompts
        if own is not None and not self.prompt.startswith(own.prefix):
            raise ValueError(
                f"regimen {self.regimen} needs prompt: {own.example}, as {version_of(self.prompt)} does not ask for"
                f" {own.asks_for}"
            )
        beside = self.ensemble.prompt if self.ensemble else ""
        for prompt in (beside,) if own is not None and own.prefix else (self.prompt, beside):
            _check_asks_for_labels(prompt)
        return self

    @model_validator(mode="after")
    def _voices(self) -> JudgeConfig:
        if len(set(self.voices)) < len(self.voices):
            raise ValueError(f"the judges {', '.join(self.voices)} hold one twice; ensemble.also names others")
        for voice in self.voices:
            section = REGIMENS[voice].section
            if section is not None and getattr(self, section[0]) is None:
                raise ValueError(f"regimen {voice} needs {section[0]}: {section[1]}")
        return self

    @property
    def row(self) -> RegimenRow:
        """What is true of the regimen."""
        return REGIMENS[self.regimen]

    @property
    def voices(self) -> tuple[Regimen, ...]:
        """Which judges are asked about every answer: the regimen, and those beside it."""
        return (self.regimen, *(self.ensemble.also if self.ensemble is not None else ()))

    @property
    def how(self) -> How:
        """How the scores of several voices are pooled."""
        return self.ensemble.how if self.ensemble is not None else "mean"

    def prompt_of(self, voice: Regimen) -> str:
        """The template that this voice fills."""
        return self.ensemble.prompt if voice != self.regimen and self.ensemble is not None else self.prompt

    @property
    def prompt_version(self) -> str:
        """The template versions in judgments, as ensembles join them."""
        filled = (self.prompt_of(voice) if REGIMENS[voice].prompts is not None else NO_PROMPT for voice in self.voices)
        return "+".join(dict.fromkeys(map(version_of, filled)))

    def name(self, own: str | None, voices: Sequence[Regimen] | None = None) -> str | None:
        """The judge's name in judgments.

        Args:
            own: the name of its own weights; None where it has none, or their folder is unknown.
            voices: those whose judgments are meant; None: all.

        Returns:
            None where a name is unknown or changes over the run (the champion judges).
        """
        names = [self._voice_name(voice, own) for voice in voices or self.voices]
        known = [name for name in names if name is not None]
        return "+".join(known) if len(known) == len(names) else None

    def _voice_name(self, voice: Regimen, own: str | None) -> str | None:
        named = REGIMENS[voice].name
        return named(self) if named is not None else own


def with_prompt(given: Any) -> Any:
    """A section's settings with the text of its `prompt_file` as its prompt.

    Raises:
        ValueError: the file cannot be read, or is no template.
    """
    if not isinstance(given, Mapping) or not given.get("prompt_file"):
        return given
    file = Path(str(given["prompt_file"])).expanduser()
    text = read_setting("prompt_file", file)
    if any(text.count(place) != 1 for place in ("{request}", "{answer}")):
        raise ValueError(
            f"prompt_file {file} must hold {{request}} and {{answer}} once each, where the judge is to read them"
        )
    # The text stays, and not the file's name: the file may change while the run goes on.
    return {**given, "prompt": text, "prompt_file": None}


def _check_asks_for_labels(prompt: str) -> None:
    if is_own(prompt):
        return
    for name, row in REGIMENS.items():
        family = row.prompts
        if family is not None and family.prefix and prompt.startswith(family.prefix):
            raise ValueError(f"{prompt} asks for {family.asks_for}; it goes with regimen {name} only")
    if prompt.startswith(REQUEST_PREFIX):
        raise ValueError(f"{prompt} asks about requests alone; it goes with publish.guard only")
    if prompt.startswith(HARMFULNESS_PROMPTS):
        raise ValueError(f"{prompt} asks for a score from 1 to 5; name it as harmfulness.prompt")
