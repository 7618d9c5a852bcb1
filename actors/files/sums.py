"""What a file holds, as one number."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sum(path: Path) -> str:
    """SHA-256 of one file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
