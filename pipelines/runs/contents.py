"""What a folder of weights or rows holds, by SHA-256: enough to tell later whether it is still the same."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from actors.contract.records import Record
from actors.engine.model_files import OTHER_WEIGHTS
from actors.errors import SalusError
from actors.files.atomic import make_folder, move_into_place
from actors.files.sums import file_sum, joint_sum
from actors.training.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, COMPANIONS, PICKLE_SUFFIXES

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=200)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# A policy is these files and no others: what is beside them is neither hashed nor handed on.
MODEL_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", *COMPANIONS)
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
ROW_FILES = ("*.parquet",)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class FileSum(Record):
    """One file: its name, size in bytes and SHA-256."""

    name: FileName
    size: int
    sha256: Sha256


class Contents(Record):
    """The files of one folder in name order, and the hash of them all."""

    # Of the lines `sha256sum *` prints for these files.
    sha256: Sha256
    files: tuple[FileSum, ...]

    @classmethod
    def of(cls, files: tuple[FileSum, ...]) -> Contents:
        return cls(sha256=_joint(files), files=files)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.sha256 != _joint(self.files):
            raise ValueError("sha256 is not that of the files")
        return self

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def contents_of(folder: Path, patterns: Sequence[str]) -> Contents:
    """The sums of a folder's files of these patterns; pickles and Mistral's copy of the weights are left out.

    Raises:
        SalusError: there are none, or one has a name that is not plain.
    """
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    found -= set(folder.glob(OTHER_WEIGHTS))
    paths = sorted(path for path in found if path.suffix not in PICKLE_SUFFIXES)
    if not paths:
        raise SalusError(f"{folder} holds no files of the kind {', '.join(patterns[:2])}; it was moved or emptied.")
    odd = next((path.name for path in paths if _PLAIN.fullmatch(path.name) is None), None)
    if odd is not None:
        raise SalusError(f"{folder} holds a file {odd!r}; rename it with letters, digits, dots and hyphens alone.")
    return Contents.of(
        tuple(FileSum(name=path.name, size=path.stat().st_size, sha256=file_sum(path)) for path in paths)
    )


def differences(folder: Path, contents: Contents) -> tuple[str, ...]:
    """Names of the files that are missing from a folder, or are not what they were."""
    return tuple(file.name for file in contents.files if not _same(folder / file.name, file))


def in_place(folder: Path, contents: Contents) -> bool:
    """Whether every file is there in its size: the quick look, which reads none of them."""
    paths = ((folder / file.name, file.size) for file in contents.files)
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def copy_contents(source: Path, contents: Contents, target: Path) -> None:
    """Copy these files into a new folder, and hold the copies against their sums.

    Raises:
        SalusError: a copy is not what was asked for.
        OSError: it cannot be written.
    """
    make_folder(target)
    for file in contents.files:
        shutil.copyfile(source / file.name, target / file.name)
    changed = differences(target, contents)
    if changed:
        raise SalusError(f"{source / changed[0]} changed while it was copied; try again when nothing writes there.")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` to fill; it takes its place at the end, on disk, or nothing is left.

    An empty folder there is replaced; one that holds something is not. OSError passes through.
    """
    made = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(made, ignore_errors=True)
        make_folder(made)
        yield made
        move_into_place(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def copy_whole(source: Path, contents: Contents, target: Path) -> None:
    """Copy these files so that `target` is there whole or not at all. Raises as `copy_contents` does."""
    with whole_folder(target) as made:
        copy_contents(source, contents, made)


def _same(path: Path, file: FileSum) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file_sum(path) == file.sha256


def _joint(files: tuple[FileSum, ...]) -> str:
    return joint_sum((file.sha256, file.name) for file in files)
