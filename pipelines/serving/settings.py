"""Settings of `salus serve`: the endpoint, where it runs, and how it follows the registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from actors.serve.config import PublisherConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.router.fits import engine_config
from actors.serve.shadow.config import ShadowConfig
from pipelines.config.load import read_tree, settings_of
from pipelines.config.sections import ClusterConfig, Section
from pipelines.serving.named import ByVersion, ModelName, PolicySettings, engine_of, policy_config
from pipelines.serving.office import PagesConfig


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
        """Whether a router stands before the policies."""
        return self.publish.router or bool(self.policies)

    @property
    def named(self) -> dict[str, PolicySettings]:
        """The policies behind the router; the one of `publish.model_id` where none is named."""
        return dict(self.policies) or {self.publish.model_id: PolicySettings(engines=self.engines)}

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
        if self.shadow is not None and self.routed:
            raise ValueError("shadow goes with a single policy without a router: leave policies and publish.router out")
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
