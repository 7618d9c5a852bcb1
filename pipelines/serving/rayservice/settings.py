"""The `args` of a Serve application that serves a registry's current policy."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from actors.contract.actor_address import ActorAddress
from actors.serve.config import PublisherConfig
from actors.serve.gateway.config import check_gateway
from pipelines.config.section import Section

NAMESPACE = "salus-rayservice"


class ServiceSettings(Section):
    """One application of a RayService."""

    application: str = Field(
        pattern=r"^[A-Za-z0-9_-]+$", max_length=64, description="the application's name in Ray Serve's configuration"
    )
    registry: Path = Field(description="folder of the policy registry, which every node sees")
    publish: PublisherConfig = Field(
        description="the endpoint; where it listens is what Ray Serve's configuration says"
    )
    poll_s: float = Field(0.5, gt=0, le=60, description="how often the registry is asked which policy is current")

    @property
    def address(self) -> ActorAddress:
        """The actor that says which policy is published."""
        return ActorAddress(actor=f"{ActorAddress().actor}-{self.application}", namespace=NAMESPACE)

    def check(self) -> None:
        """Refuse, before anything starts, an endpoint that would let in anyone, or no one.

        Raises:
            SalusError: as `check_gateway` does.
        """
        check_gateway(self.publish.gateway, self.publish.host)

    @model_validator(mode="after")
    def _one_policy_behind_serves_proxy(self) -> ServiceSettings:
        if self.publish.router:
            raise ValueError("publish.router needs salus serve; name one application for each policy instead")
        return self
