"""Capability figures on disk: each policy's `figures.json`, and what a cycle's decision reads of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.records import read_record
from actors.files.shards import write_text
from pipelines.config.capability import CapabilityConfig
from pipelines.decision.capability_gate import CapabilityEvidence
from pipelines.measures.capability.figures import Capability
from pipelines.measures.capability.questions import HeldOut


def figures_path(folder: RunFolder, split: HeldOut, version: str) -> Path:
    """Where one policy's figures lie."""
    return folder.evaluation_capability(split, version) / "figures.json"


def write_figures(figures: Capability, folder: RunFolder, split: HeldOut) -> None:
    """Write one policy's figures."""
    write_text(figures.model_dump_json(indent=2), figures_path(folder, split, figures.policy))


def read_figures(folder: RunFolder, split: HeldOut, version: str) -> Capability:
    """One policy's figures.

    Raises:
        SalusError: they are not there, or were written by another version of Salus.
    """
    path = figures_path(folder, split, version)
    if not path.is_file():
        raise SalusError(f"Policy {version} has no capability figures at {path}; run salus evaluate for its cycle.")
    return read_record(Capability, path, "a record of capability figures", "delete it and run salus evaluate")


def read_evidence(
    folder: RunFolder, config: CapabilityConfig, base: str, versions: Iterable[str]
) -> CapabilityEvidence:
    """What the gate of one cycle rests on: validation figures of the deployed model and of these policies.

    Raises:
        SalusError: as `read_figures` does.
    """
    return CapabilityEvidence(
        limits=config.limits,
        base=read_figures(folder, "validation", base),
        policies={version: read_figures(folder, "validation", version) for version in versions},
    )
