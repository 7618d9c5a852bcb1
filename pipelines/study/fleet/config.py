"""What a fleet runs: policies, each with its recipe, data, seed and registry; and what divides the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from actors.errors import SalusError
from pipelines.config.cluster import ClusterConfig, SharedKind
from pipelines.config.load import read_tree, recipe_names, settings_of, study_names
from pipelines.config.section import Section

# Of a run folder, of an entry of a registry, and the model's name at an endpoint.
PolicyName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]

# As --set takes it on the command line.
Change = Annotated[
    str, Field(pattern=r"^\w+(\.[\w-]+)*=", description="section.key=value, a change of the recipe's settings")
]

# Of a fleet and of a study, which both run several policies in one Ray.
Share = Annotated[
    tuple[SharedKind, ...],
    Field(
        description="actors that runs share where they would start the same. judges: of one model and one prompt."
        " generators: of one deployed model; their weights change from one run's shard to the next, which takes long"
        " of large models. trainers: of the same settings, for one job after the other. What is shared starts once, and"
        " takes its memory once"
    ),
]


class FleetPolicy(Section):
    """One policy, which is one run of `salus align`."""

    name: PolicyName = Field(
        description="how the policy is called in the fleet's folder, in its registry and at the endpoint"
    )
    recipe: str | None = Field(None, description="a recipe's name or a YAML file; None: the fleet's")
    data: str | None = Field(None, description="where its data is, as data.path; None: as the recipe says")
    seed: int | None = Field(None, ge=0, description="of every random choice of its run; None: as the recipe says")
    registry: Path | None = Field(
        None, description="the registry of its policies, which is its own; None: a folder of its name in registries"
    )
    weight: float = Field(
        1.0,
        gt=0,
        le=100,
        description="its share of the GPUs and of a shared judge's time, against the weights of the others",
    )
    priority: int = Field(0, description="policies of a higher priority start first where not all fit")
    set: tuple[Change, ...] = Field((), description="changes of the recipe for this policy, after the fleet's")


class FleetConfig(Section):
    """Several policies that are aligned in one cluster at the same time."""

    name: PolicyName = Field(description="how the fleet is called; its folder is runs/NAME without --run")
    recipe: str | None = Field(None, description="the recipe of policies that name none")
    set: tuple[Change, ...] = Field((), description="changes of the recipe of every policy, before its own")
    policies: tuple[FleetPolicy, ...] = Field(min_length=1, description="the policies, each a run of its own")
    side_by_side: int | None = Field(
        None, ge=1, description="most policies that run at the same time; None: as many as there is room for"
    )
    share: Share = ("judges",)
    registries: Path | None = Field(
        Path("registries"),
        description="the folder of the registries of policies that name none; null: those are not registered",
    )
    promote: bool = Field(
        False,
        description="make what a run published the current policy of its registry. Endpoints that follow the registry"
        " serve it at once. False: that takes salus policy promote",
    )
    cluster: ClusterConfig = Field(ClusterConfig(), description="the one Ray that all policies share")

    @model_validator(mode="after")
    def _each_once(self) -> FleetConfig:
        names: list[str] = [policy.name for policy in self.policies]
        if (twice := _twice(names)) is not None:
            raise ValueError(f"policies names {twice} twice; every policy needs a name of its own")
        registries = [str(found.absolute()) for each in self.policies if (found := self.registry_of(each)) is not None]
        if (shared := _twice(registries)) is not None:
            raise ValueError(
                f"two policies have the registry {shared}, whose current policy is one alone; give each one of its own"
            )
        if without := [policy.name for policy in self.policies if (policy.recipe or self.recipe) is None]:
            raise ValueError(f"policy {without[0]} has no recipe; give it one, or the fleet")
        check_found(self.cluster, "fleet")
        return self

    def registry_of(self, policy: FleetPolicy) -> Path | None:
        """Where a policy is registered; None: nowhere."""
        default = self.registries / policy.name if self.registries is not None else None
        return policy.registry or default


def check_found(cluster: ClusterConfig, what: str) -> None:
    """Raises ValueError where settings name actors that a fleet or a study starts itself."""
    if cluster.shared:
        raise ValueError(f"cluster.{min(cluster.shared)} is found by the {what} itself; leave it out")


def load_fleet(file: str, overrides: Sequence[str] = ()) -> FleetConfig:
    """A fleet by the path of its YAML file, with `key=value` overrides.

    Raises:
        SalusError: no such file, not YAML, an unknown key or a value that does not fit.
    """
    for known, command in ((recipe_names(), "align"), (study_names(), "study")):
        if file in known:
            raise SalusError(
                f"{file} is no fleet; start it with: salus {command} {file}, or name a fleet's .yaml file."
            )
    if Path(file).suffix not in (".yaml", ".yml"):
        raise SalusError(f"{file} is no fleet: name a .yaml file; pipelines/study/fleet/README.md shows one.")
    tree, where = read_tree(file, ())
    return settings_of(FleetConfig, tree, overrides, where)


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)
