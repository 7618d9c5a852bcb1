"""Settings of the deployed policy: where it comes from, how its generators sample, and other ways to ask it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from actors.contract.decides import Decides
from actors.engine.chat_format import ChatFormat
from actors.engine.config import EngineConfig
from actors.engine.port import Sampling
from actors.engine.thoughts import ThoughtMarks
from pipelines.config.section import InputPath, Section, check_revision, read_setting, with_source


class ModelConfig(Section):
    """The deployed policy the run begins with."""

    source: Literal["clinic", "medsafety", "folder", "hub"] = Field(
        "folder",
        description="where it is from. clinic, medsafety: the tiny policy that the section of that name builds."
        " folder, hub: what path names",
    )
    path: InputPath | None = Field(None, description="model folder, its address as s3://BUCKET/FOLDER, or hub id")
    system_prompt: str | None = Field(
        None,
        min_length=1,
        description="the system prompt that the deployed assistant has. A conversation that brings its own keeps that."
        " It becomes a part of the policy's chat template: answers, training and endpoint all have it",
    )
    system_prompt_file: Annotated[str | None, Decides.NOTHING] = Field(
        None, description="a text file with the system prompt, read when the recipe is; the recipe of a run holds it"
    )
    chat_template_kwargs: dict[str, JsonValue] = Field(
        {}, description="switches of the policy's chat template, such as {enable_thinking: false}"
    )
    template_date: datetime.date = Field(
        datetime.date(2024, 7, 26),
        description="the day that a chat template which writes today's date gets, so that a run is the same on any day",
    )
    thoughts: ThoughtMarks = ThoughtMarks()
    revision: str | None = Field(
        None, min_length=1, description="branch, tag or commit of the hub id; None: the hub's main branch"
    )
    parameters_b: Annotated[float | None, Decides.RUN] = Field(
        None, gt=0, description="size in 10^9 parameters, for the plan of a model that is not on disk"
    )

    @property
    def chat(self) -> ChatFormat:
        """How the deployed policy is asked."""
        return ChatFormat(
            system_prompt=self.system_prompt,
            template_kwargs=self.chat_template_kwargs,
            date=self.template_date,
            thoughts=self.thoughts,
        )

    @model_validator(mode="before")
    @classmethod
    def _of_a_folder(cls, given: Any) -> Any:
        return with_source(given)

    @model_validator(mode="before")
    @classmethod
    def _read_system_prompt(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not given.get("system_prompt_file"):
            return given
        if given.get("system_prompt"):
            raise ValueError("system_prompt and system_prompt_file say the same thing twice; give one of them")
        file = Path(str(given["system_prompt_file"])).expanduser()
        text = read_setting("system_prompt_file", file)
        # The text stays, and not the file's name: the file may change while the run goes on.
        return {**given, "system_prompt": text, "system_prompt_file": None}

    @model_validator(mode="after")
    def _needs_path(self) -> ModelConfig:
        if self.source in ("folder", "hub") and not self.path:
            raise ValueError(f"source {self.source!r} needs path: a model folder or a hub id")
        check_revision(self.source, self.revision)
        return self


class GenerateConfig(Section):
    """The generator pool."""

    actors: Annotated[int, Decides.NOTHING] = Field(
        1, ge=1, description="generators that answer prompts at the same time, each with an engine of its own"
    )
    cpus_per_actor: Annotated[float, Decides.NOTHING] = Field(
        1.0, ge=0, description="logical CPUs Ray reserves for one generator"
    )
    sampling: Sampling = Sampling()
    evaluation_max_tokens: int | None = Field(
        None, ge=1, description="longest greedy answer in evaluation; None: as in sampling"
    )
    engine: EngineConfig = EngineConfig()
    shard_timeout_s: Annotated[float, Decides.NOTHING] = Field(
        3600.0, gt=0, description="a generator that takes longer over one shard is ended and another put in its place"
    )

    def greedy(self) -> Sampling:
        """How the validation and test splits are answered: as the endpoint answers who asks for temperature 0.

        Everything else is left to the model's own defaults, whatever rollouts are sampled with.
        """
        return Sampling(k=1, temperature=0.0, max_tokens=self.evaluation_max_tokens or self.sampling.max_tokens)

    @property
    def longest_answer(self) -> int:
        """Of sampled and of greedy answers, in tokens."""
        return max(self.sampling.max_tokens, self.greedy().max_tokens)


class SchemeConfig(Section):
    """One way to ask the policy. Its parts may be joined, as Medprompt joins them (arXiv 2311.16452)."""

    system_prompt: str | None = Field(
        None, min_length=1, description="a system prompt in place of the deployed one; None: the deployed one"
    )
    suffix: str | None = Field(
        None, min_length=1, description="words behind each request, such as Think step by step; None: none"
    )
    samples: int = Field(
        1,
        ge=1,
        le=64,
        description="answers of each prompt. Of more than one, the first with the label of most is taken",
    )
    temperature: float = Field(0.7, gt=0, description="of these samples; one alone is greedy")
    few_shot: int = Field(
        0,
        ge=0,
        le=16,
        description="train prompts with good answers that come before each request: those nearest to it, by the"
        " policy's own embeddings. Where preference.judged is false, of the pairs that are trained on",
    )

    @model_validator(mode="after")
    def _changes_something(self) -> SchemeConfig:
        if self.system_prompt is None and self.suffix is None and self.samples == 1 and not self.few_shot:
            raise ValueError("it changes nothing: set system_prompt, suffix, samples or few_shot")
        return self
