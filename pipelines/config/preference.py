"""Settings of the training rows: how judgments become rows, which other rows join them, and the red team's prompts.

Also of what is shown before: the demonstrations of fine-tuning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from actors.contract.decides import Decides
from actors.engine.config import EngineConfig
from actors.engine.port import Sampling
from actors.training.config import SftTrainConfig
from pipelines.config.model import ModelConfig
from pipelines.config.section import InputPath, Section
from pipelines.data.sets.egida import (
    EgidaName,
)


class FeedbackRowsConfig(Section):
    """Feedback of a deployment as further rows, beside those from the judge's labels."""

    path: InputPath = Field(
        min_length=1, description="the endpoint's feedback.folder, or a copy of it, or the address of one"
    )
    policies: tuple[str, ...] | None = Field(
        None, description="answers of these policy versions alone; None: whichever policy gave them"
    )
    trusted_only: tuple[str, ...] | None = Field(
        (), description="feedback of these callers alone, by the names of their keys; null: of everybody"
    )
    supplied: bool = Field(
        False, description="also answers that the caller sent along with the feedback, which no one else vouches for"
    )
    other_turns: Literal["keep", "leave_out", "ignore"] = Field(
        "keep",
        description="answers in conversations of more than one turn (a system prompt, earlier questions). keep: rows"
        " hold the whole conversation. leave_out: they are not trained on. ignore: rows hold the last question alone",
    )
    max_per_caller: int = Field(200, ge=1, description="most items of one caller a cycle, drawn by the recipe's seed")
    kto_weight: float = Field(
        1.0, ge=0, le=100, description="how often a KTO row of feedback enters; of 2.5, every second one three times"
    )
    pair_weight: float = Field(1.0, ge=0, le=100, description="the same of a DPO pair")
    max_share: float = Field(
        0.2, gt=0, lt=1, description="most of a cycle's training rows that may be feedback, repetitions counted"
    )


class EgidaPairsConfig(Section):
    """Which of Egida's pairs are trained on, and how many."""

    path: InputPath | None = Field(
        None, description="file, or folder with a file called after name, or its address; None: the hub"
    )
    name: EgidaName = Field("Egida-DPO-Meta-Llama-3.1-8B-Instruct", description="one of the Egida-DPO configs")
    level: Literal[1, 2, 3] = Field(3, description="harm level of every pair; our choice")
    per_cycle: int = Field(
        200, ge=1, description="most of them a cycle, drawn anew; preference.max_class_ratio counts them as harmful"
    )
    unpaired: bool = Field(
        False,
        description="the answers of the same pairs are KTO rows as well: the better one is desirable, the worse one is"
        " not. KTO and DPO then learn from the same",
    )


class PreferenceConfig(Section):
    """How judgments become training rows."""

    judged: bool = Field(
        True,
        description="rows from the judge's labels of the champion's own answers. false: from egida_pairs (and feedback)"
        " alone, and no train prompt is answered",
    )
    replay: bool = Field(True, description="train on all earlier cycles' judgments too")
    replay_cycles: int | None = Field(
        None, ge=1, description="with replay: most earlier cycles whose judgments count, the newest; None: all"
    )
    pairs_per_prompt: int = Field(2, ge=1, description="most DPO pairs of one prompt, widest margin first")
    use_references: bool = Field(
        True, description="the data set's safe answer is the chosen one where the policy gave no good answer"
    )
    reference_kto: bool = Field(
        False, description="the same safe answer is also a desirable KTO row where the policy gave no good one"
    )
    benign_refusal: str | None = Field(
        None, description="a refusal to set against helpful answers to harmless prompts that had no bad answer"
    )
    choose_cut_off: bool = Field(
        False, description="answers that were cut off at their length limit may be chosen, or desirable KTO rows"
    )
    min_confidence: float = Field(0.0, ge=0, le=1, description="judgments less sure than this are left out")
    max_class_ratio: float = Field(
        4.0, ge=1, description="the larger class (KTO: label, DPO: harmless or not) is thinned to this ratio"
    )
    shuffle_labels: bool = Field(
        False,
        description="control experiment: KTO labels permuted among rows, DPO pairs turned round at random;"
        " a policy must not improve",
    )
    egida_pairs: EgidaPairsConfig | None = Field(
        None,
        description="further DPO pairs, other models' unsafe answers beside safe ones; None: the policy's own only",
    )
    # A cycle writes down once which labels it was trained with; later ones may differ.
    reviews: Annotated[Path | None, Decides.NOTHING] = Field(
        None, description="folder or address of people's labels, which override the judge's; None: no"
    )
    feedback: FeedbackRowsConfig | None = Field(
        None, description="further rows, what people said of the deployed policy's answers; None: judgments only"
    )
    rows_per_file: int = Field(50_000, ge=1, description="most training rows of one Parquet file")

    @model_validator(mode="after")
    def _has_rows(self) -> PreferenceConfig:
        if not self.judged and self.egida_pairs is None:
            raise ValueError("judged false leaves nothing to learn from: set egida_pairs, or judged to true")
        return self

    def cycles_of_rows(self, cycle: int) -> range:
        """The cycles whose judgments make the rows of a cycle (1, 2, ...), itself the last; empty where none do."""
        if not self.judged:
            return range(0)
        if not self.replay:
            return range(cycle, cycle + 1)
        first = 1 if self.replay_cycles is None else max(1, cycle - self.replay_cycles)
        return range(first, cycle + 1)


class SftConfig(SftTrainConfig):
    """Fine-tuning on demonstrated answers, which makes the run's first champion."""

    references: bool = Field(
        default=True,
        description="learn the data set's reference answers to the train prompts. Where harmless prompts have none,"
        " name conversations as well: a policy that learns refusals alone refuses everything",
    )
    path: InputPath | None = Field(
        default=None,
        description="file or folder of conversations to learn (CSV, JSONL or Parquet), or its address; a column"
        " messages holds lists of role and content. Every answer of the assistant's is learnt, with the turns before"
        " it",
    )
    most: int | None = Field(default=None, ge=1, description="most demonstrations, drawn by the seed; None: all")

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if not self.references and self.path is None:
            raise ValueError("references is false and path is not set, so there is nothing to learn; set one of them")
        return self


class RedTeamConfig(Section):
    """Attacks on each cycle's champion. What succeeds is asked again in the next cycle, and learnt from there."""

    attacker: ModelConfig | None = Field(
        None, description="the model that rewrites prompts; None: the deployed policy attacks itself"
    )
    templates: InputPath | None = Field(
        None,
        description="file or folder of PyRIT's jailbreak templates, which are tried beside the rewrites; None: none",
    )
    prompts: int = Field(64, ge=1, description="most harmful train prompts of a cycle that are attacked, drawn anew")
    attempts: int = Field(4, ge=1, description="rewrites of each prompt; with templates as many of those as well")
    max_tokens: int = Field(
        100_000,
        ge=1,
        description="most tokens of a cycle's attacks, sampled by attacker and champion together. What is begun within"
        " them is ended",
    )
    rewrite_tokens: int = Field(128, ge=1, description="most tokens of one rewrite")
    temperature: float = Field(1.0, gt=0, description="of the attacker's sampling")
    engine: EngineConfig = Field(EngineConfig(), description="the attacker's engines")
    actors: Annotated[int, Decides.NOTHING] = Field(1, ge=1, description="attackers at the same time")
    cpus_per_actor: Annotated[float, Decides.NOTHING] = Field(
        1.0, ge=0, description="logical CPUs Ray reserves for one attacker"
    )

    @property
    def sampling(self) -> Sampling:
        """How rewrites are sampled."""
        return Sampling(k=self.attempts, temperature=self.temperature, max_tokens=self.rewrite_tokens)

    @model_validator(mode="after")
    def _has_room(self) -> RedTeamConfig:
        if self.rewrite_tokens >= self.engine.longest:
            raise ValueError(
                f"rewrite_tokens leaves no room for a request in engine.max_model_len ({self.engine.longest}); raise"
                " the latter"
            )
        return self
