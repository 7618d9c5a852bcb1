"""The copy of a Ray job's working directory: Ray deletes it after the job, so nothing that is kept may be in it.

Ray unpacks what `ray job submit --working-dir` or `py_modules` sent below `runtime_resources` of its session's folder.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from actors.errors import SalusError

_RESOURCES = "runtime_resources"
_COPIES = frozenset({"working_dir_files", "py_modules_files"})


def in_job_copy(path: Path) -> bool:
    """Whether `path` is in such a copy; a link in it that leads elsewhere is followed."""
    return _below_copies(os.path.abspath(path)) and _below_copies(os.path.realpath(path))


def check_kept(path: Path, what: str = "") -> None:
    """Refuse to keep anything in a copy that Ray deletes.

    Args:
        path: a file or folder that is to be written.
        what: which one it is, as "The run folder"; empty: its path alone is named.

    Raises:
        SalusError: it is in such a copy.
    """
    if in_job_copy(path):
        raise SalusError(
            f"{what} {path} is in Ray's copy of the job's working directory, which Ray deletes after the job; give an"
            " absolute path on a disk that every node sees, or for a run an address as s3://BUCKET/RUN.".lstrip()
        )


def _below_copies(path: str) -> bool:
    parts = path.split(os.sep)
    return any(part == _RESOURCES and inner in _COPIES for part, inner in pairwise(parts))
