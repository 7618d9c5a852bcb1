"""What a file holds, as one number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def file_sum(path: Path) -> str:
    """SHA-256 of one file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def joint_sum(sums: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of the lines that `sha256sum *` prints of files, given as (sum, name)."""
    return hashlib.sha256("".join(f"{digest}  {name}\n" for digest, name in sums).encode()).hexdigest()
