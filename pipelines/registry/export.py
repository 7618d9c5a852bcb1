"""A policy out of the registry: a plain Hugging Face folder, or its adapter alone, the same to the last byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from actors.errors import SalusError
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.store import CARD, Registry
from pipelines.runs.contents import copy_contents, whole_folder

Kind = Literal["merged", "adapter"]


def export_policy(registry: Registry, version: str, out: Path, kind: Kind = "merged") -> PolicyEntry:
    """Write a policy's weights and its model card to a new or empty folder, all of it or nothing.

    Raises:
        SalusError: no such policy or adapter, weights that are not those registered, or `out` is not empty
            or cannot be written.
    """
    entry = registry.find(version)
    _check_free(out)
    source, contents = registry.intact(entry, kind)
    try:
        with whole_folder(out.absolute()) as made:
            copy_contents(source, contents, made)
            shutil.copyfile(registry.folder(entry) / CARD, made / CARD)
    except OSError as error:
        raise SalusError(f"{out} cannot be written ({error.strerror or error}); give another folder.") from error
    return entry


def _check_free(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise SalusError(f"{out} is not empty; give a folder that is new or empty.")
    if out.exists() and not out.is_dir():
        raise SalusError(f"{out} is a file; give a folder that is new or empty.")
