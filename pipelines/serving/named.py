"""The policies that one endpoint serves by name, and the engine settings that each of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from actors.serve.config import PublisherConfig
from actors.serve.router.fits import EngineSettings, engine_config
from pipelines.config.sections import Section

# As `publish.model_id`, which it becomes.
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]
ByVersion = dict[str, EngineSettings]


class PolicySettings(Section):
    """One named policy; clients ask for it by its name."""

    registry: Path | None = Field(
        None, description="the registry whose current policy it follows; None: that of the command"
    )
    policy: str | None = Field(None, description="this version for good; None: whichever is current")
    publish: EngineSettings = Field(EngineSettings(), description="what its engine needs that others do not")
    engines: ByVersion = Field({}, description="the same for versions of such a name, as llama-70b-*; the first counts")


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
    return config.model_copy(update={"feedback": config.feedback.model_copy(update={"folder": folder / name})})
