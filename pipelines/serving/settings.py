"""Settings of `salus serve`: the endpoint, its policies, where it runs, and how it follows the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.router.fits import EngineSettings, engine_config
from actors.serve.shadow.config import ShadowConfig
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import read_tree, settings_of
from pipelines.config.section import Section

# As `publish.model_id`, which it becomes.
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
ByVersion = dict[str, EngineSettings]


class PolicySettings(Section):
    """One named policy; clients ask for it by its name."""

    registry: Path | None = Field(
        None, description="the registry whose current policy it follows; None: that of the command"
    )
    policy: str | None = Field(None, description="this version for good; None: whichever is current")
    lora: bool = Field(
        False,
        description="serve it as a LoRA adapter: such policies of one base share an engine; it needs policy, and every"
        " cycle of it trained with LoRA",
    )
    publish: EngineSettings = Field(EngineSettings(), description="what its engine needs that others do not")
    engines: ByVersion = Field({}, description="the same for versions of such a name, as llama-70b-*; the first counts")


class PagesConfig(Section):
    """The pages /review and /dashboard."""

    run: Path | None = Field(
        None, description="the run folder whose answers are reviewed; None: that of the registry's current policy"
    )
    policy: str | None = Field(None, description="of several policies, the one whose pages these are; None: the first")
    labels: Path | None = Field(
        None,
        description="where people's labels are kept, a folder or s3://BUCKET/LABELS; None: labels/ of the registry",
    )
    reviewers: int = Field(
        1,
        ge=1,
        description="labels an answer gets before it leaves the queue; a tie asks one reviewer more. From 2 on, each"
        " reviewer sees how far they agree",
    )


def engine_of(engines: Mapping[str, EngineSettings], version: str) -> EngineSettings:
    """What a version needs: of the first name that fits, in which * and ? stand for any."""
    return next((each for name, each in engines.items() if fnmatchcase(version, name)), EngineSettings())


def policy_config(publish: PublisherConfig, name: str, policy: PolicySettings, *, alone: bool) -> PublisherConfig:
    """The settings of one policy's endpoint, before any of its versions has a say.

    Raises:
        SalusError: they do not fit together.
    """
    config = engine_config(publish.model_copy(update={"model_id": name, "router": True}), policy.publish)
    folder = config.feedback.folder
    if alone or folder is None:
        return config
    # Feedback makes the next cycle's rows, so that of one model is not another's.
    own = {"folder": folder / name, "store": f"{config.feedback.store}/{name}" if config.feedback.store else None}
    return config.model_copy(update={"feedback": config.feedback.model_copy(update=own)})


class ServeSettings(Section):
    """One endpoint."""

    publish: PublisherConfig = PublisherConfig(proxy="haproxy", replicas=2, gateway=GatewayConfig())
    policies: dict[ModelName, PolicySettings] = Field(
        {}, description="several policies behind this endpoint, by the name clients ask for; they need a router"
    )
    engines: ByVersion = Field(
        {}, description="with publish.router: what engines of versions of such a name need, as llama-70b-*"
    )
    pages: PagesConfig | None = Field(None, description="the pages of review and dashboard; None: there are none")
    shadow: ShadowConfig | None = Field(
        None, description="a challenger that answers a share of the requests, unseen; None: none"
    )
    cluster: ClusterConfig = ClusterConfig()
    poll_s: float = Field(0.5, gt=0, le=60, description="how often the registry is asked which policy is current")

    @property
    def routed(self) -> bool:
        """Whether a router is before the policies."""
        return self.publish.router or bool(self.policies)

    @property
    def named(self) -> dict[str, PolicySettings]:
        """The policies behind the router; the one of `publish.model_id` where none is named."""
        return dict(self.policies) or {self.publish.model_id: PolicySettings(engines=self.engines)}

    def feedback(self) -> tuple[FeedbackConfig, ...]:
        """What each policy keeps of what people say."""
        alone = not self.policies
        return tuple(
            policy_config(self.publish, name, policy, alone=alone).feedback for name, policy in self.named.items()
        )

    def fit(self, name: str, version: str) -> PublisherConfig:
        """The settings of one version of a named policy.

        Raises:
            SalusError: they do not fit together.
        """
        policy = self.named[name]
        config = policy_config(self.publish, name, policy, alone=not self.policies)
        return engine_config(config, engine_of(policy.engines, version))

    @model_validator(mode="after")
    def _engines_are_somebodys(self) -> ServeSettings:
        if self.engines and not self.publish.router:
            raise ValueError("engines are for policies that change their engine: set publish.router=true as well")
        if self.publish.scheme is not None and (self.routed or self.shadow is not None):
            raise ValueError(
                "publish.scheme goes with a single policy, without a router and without shadow, whose challenger would"
                " be asked otherwise: leave policies, publish.router and shadow out"
            )
        if self.shadow is not None and self.routed:
            raise ValueError("shadow goes with a single policy without a router: leave policies and publish.router out")
        for name, policy in self.policies.items():
            if policy.lora and policy.policy is None:
                raise ValueError(
                    f"policies.{name}.lora=true needs a version for good, as its engine learns it when it starts: set"
                    f" policies.{name}.policy"
                )
            if policy.lora and (policy.engines or policy.publish != EngineSettings()):
                raise ValueError(
                    f"policies.{name}.lora=true shares an engine with others: say in publish what that needs, and leave"
                    f" policies.{name}.publish and engines out"
                )
        if self.engines and self.policies:
            raise ValueError("with several policies each has engines of its own: policies.NAME.engines")
        return self


def load_settings(file: Path | None, overrides: Sequence[str] = ()) -> ServeSettings:
    """The settings in a YAML file, or the defaults, with `a.b=value` overrides.

    Raises:
        SalusError: no such file, an unknown key or a value that does not fit.
    """
    known = ServeSettings().model_dump(mode="json")
    if file is None:
        return settings_of(ServeSettings, known, overrides, "salus serve")
    given, where = read_tree(str(file), ())
    for name, section in known.items():
        # What the file leaves out of a section is as without a file.
        if isinstance(section, dict) and isinstance(given.get(name, {}), dict):
            given[name] = section | given.get(name, {})
    return settings_of(ServeSettings, given, overrides, where)


def chosen_settings(
    file: Path | None, overrides: Sequence[str], policies: Sequence[str]
) -> tuple[ServeSettings, str | None]:
    """The settings, and the version that an unnamed policy begins with (None: the current one).

    Args:
        file: a YAML file of settings, if there is one.
        overrides: `a.b=value`.
        policies: `VERSION` once, or `NAME=VERSION` each.

    Raises:
        SalusError: settings that do not fit, or policies with and without names.
    """
    pairs = [each.partition("=") for each in policies]
    named = [f"policies.{name}.policy={version}" for name, equals, version in pairs if equals]
    unnamed = [name for name, equals, _ in pairs if not equals]
    if len(unnamed) > 1 or (unnamed and named):
        raise SalusError("Several policies want names, as --policy clinic=VERSION --policy ward=VERSION.")
    settings = load_settings(file, [*overrides, *named])
    if unnamed and settings.policies:
        raise SalusError(
            f"The settings name policies, so say which of them is to be {unnamed[0]}: --policy NAME={unnamed[0]}."
        )
    return settings, unnamed[0] if unnamed else None
