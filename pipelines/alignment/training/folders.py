"""Policies in folders merged into one folder, without a run: `salus merge`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import make_folder, move_into_place
from actors.files.full_disk import disk_of
from actors.files.shards import write_text
from actors.training.adapter import check_adapter, settle_config
from actors.training.merging.config import MergeSettings, default_weights
from actors.training.merging.merged import are_adapters, merged_policy
from pipelines.runs.contents import ADAPTER_FILES, MODEL_FILES, contents_of, whole_folder

RECORD = "merge.json"


@dataclass(frozen=True)
class WeighedPolicy:
    """A folder with an adapter or a whole model, and the weight of its update; None: such that a mean comes of it."""

    folder: Path
    weight: float | None = None


class MergedFrom(Record):
    """One policy of a merge, by the sum of its files."""

    folder: str
    sha256: str
    weight: float


class MergeRecord(Record):
    """`merge.json`: what a folder was merged of, and how."""

    settings: MergeSettings
    seed: int
    base: str
    base_sha256: str
    policies: tuple[MergedFrom, ...]
    # Root-mean-square change of the base's weights.
    change: float


def weighed_policy(text: str) -> WeighedPolicy:
    """`DIR` or `DIR=WEIGHT`; a folder whose name holds an equals sign is taken where it is there."""
    folder, equals, number = text.rpartition("=")
    if equals and not Path(text).expanduser().exists():
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise SalusError(f"The weight of {folder} is {number!r}; give a number, as {folder}=0.5.")
        return WeighedPolicy(Path(folder).expanduser(), weight)
    return WeighedPolicy(Path(text).expanduser())


def merge_folders(
    settings: MergeSettings, base: Path, policies: Sequence[WeighedPolicy], seed: int, out: Path
) -> MergeRecord:
    """Write a Hugging Face folder, with `merge.json` and, of adapters, `adapter/` in it: all of it or nothing.

    Args:
        settings: the method.
        base: the model folder that the policies were trained from.
        policies: at least two.
        seed: of what `dare` drops.
        out: a new or empty folder.

    Raises:
        SalusError: the policies cannot be merged, some of them have a weight and others none, or `out` is not empty or
            cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SalusError(f"{out} is not empty; give a folder that is new or empty.")
    folders = [policy.folder for policy in policies]
    adapters = _what(folders)
    given = [policy.weight for policy in policies if policy.weight is not None]
    if given and len(given) != len(policies):
        raise SalusError(f"{len(given)} of {len(policies)} policies have a weight; give each one, or none.")
    files = ADAPTER_FILES if adapters else MODEL_FILES
    sums = [contents_of(folder, files).sha256 for folder in folders]
    weights = given or default_weights(settings.method, len(policies))
    try:
        with disk_of(out), whole_folder(out.absolute()) as made:
            work = made / ".work"
            make_folder(work)
            change = merged_policy(settings, base, folders, given, seed, work)
            record = MergeRecord(
                settings=settings,
                seed=seed,
                base=str(base.absolute()),
                base_sha256=contents_of(base, MODEL_FILES).sha256,
                policies=tuple(
                    MergedFrom(folder=str(folder.absolute()), sha256=of, weight=weight)
                    for folder, of, weight in zip(folders, sums, weights, strict=True)
                ),
                change=change,
            )
            for file in (work / "merged").iterdir():
                move_into_place(file, made / file.name)
            if adapters:
                settle_config(work / "adapter", str(base.absolute()))
                move_into_place(work / "adapter", made / "adapter")
            shutil.rmtree(work)
            write_text(record.model_dump_json(indent=2), made / RECORD)
    except OSError as error:
        raise SalusError(f"{out} cannot be written ({error.strerror or error}); give another folder.") from error
    return record


def _what(folders: Sequence[Path]) -> bool:
    """Whether adapters are merged. Raises SalusError for folders that are not there, or of both kinds."""
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise SalusError(f"There is no folder {missing}; give one with an adapter or a whole model.")
    adapters = are_adapters(folders)
    if not adapters and any(are_adapters([folder]) for folder in folders):
        raise SalusError("Some of the policies are adapters and others whole models; merge policies of one kind.")
    for folder in folders if adapters else ():
        check_adapter(folder)
    return adapters
