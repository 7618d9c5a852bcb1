"""What a study runs: models x regimens, and what is changed of the recipe for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from actors.errors import SalusError
from actors.judges.regimens import Regimen
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import read_tree, recipe_names, settings_of, study_names
from pipelines.config.section import Section
from pipelines.study.fleet.config import Change, Share, check_found

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class StudyModel(Section):
    """One deployed policy."""

    name: Name = Field(description="how it is called in the study's folders, tables and figures")
    recipe: str | None = Field(None, description="the recipe of its runs; None: the study's")
    set: tuple[Change, ...] = Field((), description="changes of the recipe for this model, after the study's")


class StudyRegimen(Section):
    """One validator: it labels what is trained on and selects; ground truth is only reported beside it."""

    name: Regimen = Field(description="who judges, as judge.regimen of a recipe")
    set: tuple[Change, ...] = Field((), description="changes of the recipe under it, after the model's")


class StudyConfig(Section):
    """Each model under each regimen is one cell: a whole run of `salus align`, with nothing published."""

    name: Name = Field(description="how the study is called in its tables and its runs' names")
    seed: int = Field(7, ge=0, description="of every cell")
    cycles: int = Field(5, ge=1, description="of every cell")
    recipe: str = Field("demo", description="what every cell begins with: a recipe's name or a YAML file")
    set: tuple[Change, ...] = Field((), description="changes of the recipe in every cell, before the model's own")
    models: tuple[StudyModel, ...] = Field(min_length=1, description="the policies that are aligned, each once")
    regimens: tuple[StudyRegimen, ...] = Field(min_length=1, description="the judges that each is aligned under")
    side_by_side: int = Field(2, ge=1, description="most cells that run at the same time")
    share: Share = ("judges",)
    cluster: ClusterConfig = Field(ClusterConfig(), description="the one Ray that all cells share")

    @model_validator(mode="after")
    def _each_once(self) -> StudyConfig:
        check_found(self.cluster, "study")
        models: list[str] = [model.name for model in self.models]
        regimens: list[str] = [regimen.name for regimen in self.regimens]
        for what, names in (("models", models), ("regimens", regimens)):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{what} names {twice} twice; every cell needs a name of its own")
        return self


def load_study(name: str, overrides: Sequence[str] = ()) -> StudyConfig:
    """A study by its name or by the path of a YAML file, with `key=value` overrides.

    Raises:
        SalusError: no such study, not YAML, an unknown key or a value that does not fit.
    """
    if name in recipe_names():
        raise SalusError(
            f"{name} is the recipe of one run, not a study. Start it with: salus align {name}, or name one of"
            f" {', '.join(study_names())} or the path of a study's .yaml file."
        )
    tree, where = read_tree(name, study_names())
    return settings_of(StudyConfig, tree, overrides, where)
