"""Settings of `salus serve`: the endpoint, where it runs, and how it follows the registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from actors.gateway.config import GatewayConfig
from actors.publisher import PublisherConfig
from actors.shadow.config import ShadowConfig
from pipelines.config.load import read_tree, settings_of
from pipelines.config.sections import ClusterConfig, Section
from pipelines.serving.office import PagesConfig


class ServeSettings(Section):
    """One endpoint."""

    publish: PublisherConfig = PublisherConfig(proxy="haproxy", replicas=2, gateway=GatewayConfig())
    pages: PagesConfig | None = Field(None, description="the pages of review and dashboard; None: there are none")
    shadow: ShadowConfig | None = Field(
        None, description="a challenger that answers a share of the requests, unseen; None: none"
    )
    cluster: ClusterConfig = ClusterConfig()
    poll_s: float = Field(0.5, gt=0, le=60, description="how often the registry is asked which policy is current")


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
