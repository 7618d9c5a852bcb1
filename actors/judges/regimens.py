"""The table of judge regimens: one row each. Everything else asks the row instead of comparing names.

A builder imports its scorer late, as engines and clients take seconds to import and a recipe is read without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from actors.contract.records import Label, PolicyRef
from actors.engine.config import EngineConfig
from actors.engine.tokenizer import check_asked_model
from actors.judges import rules
from actors.judges.classifier import ClassifierScorer, meanings
from actors.judges.ensemble import How
from actors.judges.function import FunctionScorer, function_judge_name, function_source, load_function
from actors.judges.guard_format import GUARD_OWN, check_guard_format
from actors.judges.judge import Scorer
from actors.judges.remote.config import RemoteConfig
from actors.judges.rules import RULES_JUDGE, RuleScorer, refusal_label

Regimen = Literal["SELF", "LMA", "EXT", "RULES", "GUARD", "REMOTE", "CLASSIFIER", "PYTHON"]
# Those that may be asked beside another, as they need no model of their own.
Beside = Literal["RULES", "REMOTE", "PYTHON"]
# What `salus judge train` makes of a model, and the regimen of a recipe that names none.
FINE_TUNED: Regimen = "EXT"


class JudgeSettings(Protocol):
    """What a builder asks of a recipe's judge section."""

    @property
    def regimen(self) -> Regimen: ...

    @property
    def voices(self) -> tuple[Regimen, ...]: ...

    @property
    def how(self) -> How: ...

    @property
    def engine(self) -> EngineConfig: ...

    @property
    def remote(self) -> RemoteConfig | None: ...

    @property
    def function(self) -> str | None: ...

    @property
    def actors(self) -> int: ...

    @property
    def min_coverage(self) -> float: ...

    def prompt_of(self, voice: Regimen) -> str:
        """The template that this voice fills."""


# The judge's settings, its template, and its weights (None where it needs none) -> the scorer.
Builder = Callable[[JudgeSettings, str, PolicyRef | None], Scorer]


@dataclass(frozen=True)
class PromptFamily:
    """The templates that a regimen can fill."""

    # Completes "this prompt does not ask for ...".
    asks_for: str
    # Templates of other families do not begin with it; empty for the family of the labels.
    prefix: str = ""
    example: str = "cares-v2"


LABEL_PROMPTS = PromptFamily("a label")


@dataclass(frozen=True)
class RegimenRow:
    """One regimen, and all that the rest of Salus asks of it."""

    # Completes "NAME: ..." in the help of `judge.regimen`.
    about: str
    build: Builder
    # Its colour in a study's figures.
    colour: str
    # Whose model judges: one of its own, the champion, or none.
    weights: Literal["own", "champion"] | None = None
    # Raises SalusError where a folder holds no model that it can use.
    check_folder: Callable[[Path], object] = check_asked_model
    # Raises SalusError where the model in a folder cannot be asked with this template.
    check_prompt: Callable[[Path, str], object] = lambda folder, prompt: None
    # Raises SalusError where what it judges with, beside weights, is not here.
    check: Callable[[JudgeSettings], object] = lambda settings: None
    # Host memory of its process beside the weights; None: that of a vLLM engine with its KV cache.
    memory_gib: float | None = None
    # None: it fills no template.
    prompts: PromptFamily | None = LABEL_PROMPTS
    # Whether it gives scores of harmfulness: its model is asked for a number, or its rule has one for each label.
    scores_numbers: bool = False
    # Whether `salus judge train` can teach its model to give better labels.
    trainable: bool = False
    # Which of the clinic's two judges it uses; None: the clinic builds none for it.
    clinic: Literal["EXT", "LMA"] | None = None
    # Its name in judgments; None: it is that of its weights' folder.
    name: Callable[[JudgeSettings], str] | None = None
    # A section of `judge` that it needs, and what that holds.
    section: tuple[str, str] | None = None
    # A rule whose label depends on the answer alone. Only such a judge needs no calibration. It is tuned on one half of
    # XSTest's human labels at most, and is measured on the other half before a run.
    rule: Callable[[str], Label] | None = None
    # The file whose code gives its labels, as far as it is code; None: a model gives them, or the code has no file.
    code: Callable[[JudgeSettings], Path | None] = lambda settings: None
    # The server and the model there, where one gives its labels.
    server: Callable[[JudgeSettings], str] | None = None
    # What decides its labels and no calibration can be bound to: completes "A calibration does not see ...".
    unseen: str | None = None
    # Whether it reads answers by rules that know English alone.
    english_only: bool = False

    @property
    def champion_judges(self) -> bool:
        """Whether the judge changes with every new champion."""
        return self.weights == "champion"


def _language_model(settings: JudgeSettings, prompt: str, weights: PolicyRef | None) -> Scorer:
    from actors.engine.vllm import VllmEngine
    from actors.judges.engine import EngineScorer

    assert weights is not None
    return EngineScorer(VllmEngine(settings.engine, weights), prompt, weights)


def _guard(settings: JudgeSettings, prompt: str, weights: PolicyRef | None) -> Scorer:
    from actors.engine.vllm import VllmEngine
    from actors.judges.guard import GuardScorer

    assert weights is not None
    when_safe = RuleScorer(RULES_JUDGE, refusal_label)
    return GuardScorer(VllmEngine(settings.engine, weights), prompt, weights, when_safe)


def _rules(settings: JudgeSettings, prompt: str, weights: PolicyRef | None) -> Scorer:
    return RuleScorer(RULES_JUDGE, refusal_label)


def _remote(settings: JudgeSettings, prompt: str, weights: PolicyRef | None) -> Scorer:
    from actors.judges.remote.scorer import RemoteScorer

    assert settings.remote is not None
    return RemoteScorer(settings.remote.share(settings.actors), prompt)


def _classifier(settings: JudgeSettings, prompt: str, weights: PolicyRef | None) -> Scorer:
    assert weights is not None
    return ClassifierScorer(settings.engine, weights)


def _function(settings: JudgeSettings, prompt: str, weights: PolicyRef | None) -> Scorer:
    assert settings.function is not None
    return FunctionScorer(settings.function)


def _check_function(settings: JudgeSettings) -> None:
    assert settings.function is not None
    load_function(settings.function)


def _function_name(settings: JudgeSettings) -> str:
    assert settings.function is not None
    return function_judge_name(settings.function)


def _rules_file(settings: JudgeSettings) -> Path:
    return Path(rules.__file__)


def _function_file(settings: JudgeSettings) -> Path | None:
    assert settings.function is not None
    return function_source(settings.function)


def _server(settings: JudgeSettings) -> str:
    assert settings.remote is not None
    return f"{settings.remote.model} at {settings.remote.base_url}"


def _server_name(settings: JudgeSettings) -> str:
    assert settings.remote is not None
    return settings.remote.judge_name


REGIMENS: Mapping[Regimen, RegimenRow] = {
    "SELF": RegimenRow(
        about="the champion",
        build=_language_model,
        colour="#009E73",
        weights="champion",
        scores_numbers=True,
    ),
    "LMA": RegimenRow(
        about="an external model as is",
        build=_language_model,
        colour="#E69F00",
        weights="own",
        scores_numbers=True,
        trainable=True,
        clinic="LMA",
    ),
    "EXT": RegimenRow(
        about="one fine-tuned as judge",
        build=_language_model,
        colour="#CC79A7",
        weights="own",
        scores_numbers=True,
        trainable=True,
        clinic="EXT",
    ),
    "RULES": RegimenRow(
        about="refusal rules, no model; they know English only",
        build=_rules,
        colour="#56B4E9",
        memory_gib=0.2,
        prompts=None,
        name=lambda settings: RULES_JUDGE,
        scores_numbers=True,
        rule=refusal_label,
        code=_rules_file,
        english_only=True,
    ),
    "GUARD": RegimenRow(
        about="a safe/unsafe model, and the rules for what it finds safe",
        build=_guard,
        colour="#999999",
        weights="own",
        check_prompt=check_guard_format,
        prompts=PromptFamily("safe or unsafe", "guard-", f"{GUARD_OWN} (models like Llama Guard) or guard-v1"),
        # It labels what the model finds safe.
        code=_rules_file,
        english_only=True,
    ),
    "REMOTE": RegimenRow(
        about="a model behind an OpenAI-compatible server",
        build=_remote,
        colour="#000000",
        # With the client library loaded and a shard's prompts and replies at hand.
        memory_gib=0.4,
        scores_numbers=True,
        name=_server_name,
        server=_server,
        unseen="the weights behind the server",
        section=("remote", "base_url and model of an OpenAI-compatible server"),
    ),
    "CLASSIFIER": RegimenRow(
        about="a small model that classifies answers",
        build=_classifier,
        colour="#8C510A",
        weights="own",
        check_folder=meanings,
        # torch, transformers and a batch of 32 answers of 256 tokens; 0.85 were measured with BERT's base model.
        memory_gib=1.0,
        prompts=None,
    ),
    "PYTHON": RegimenRow(
        about="a Python function of yours, in judge.function",
        build=_function,
        colour="#0072B2",
        check=_check_function,
        # What it loads is its own affair; this has room for a small model.
        memory_gib=1.0,
        prompts=None,
        name=_function_name,
        code=_function_file,
        unseen="what the function's module imports or loads",
        section=("function", "package.module:name of a function that labels conversations"),
    ),
}


def regimens(fits: Callable[[RegimenRow], bool] = lambda row: True) -> Sequence[Regimen]:
    """The names of the regimens whose row fits, in the table's order."""
    return [name for name, row in REGIMENS.items() if fits(row)]


def check_voices(settings: JudgeSettings) -> None:
    """Hold each voice against what it judges with, beside weights, before anything starts.

    Raises:
        SalusError: it is not here.
    """
    for voice in settings.voices:
        REGIMENS[voice].check(settings)


def scorers(settings: JudgeSettings, weights: PolicyRef | None) -> Sequence[Scorer]:
    """A scorer for each voice: the regimen's own with `weights`, and those beside it, which need none.

    Raises:
        SalusError: as the scorers do.
    """
    return [
        REGIMENS[voice].build(settings, settings.prompt_of(voice), weights if voice == settings.regimen else None)
        for voice in settings.voices
    ]


assert tuple(REGIMENS) == get_args(Regimen)
