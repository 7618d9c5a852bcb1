"""A folder cache keyed by a hash of everything that decides the content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from actors.files.atomic import make_folder, move_into_place
from actors.files.full_disk import disk_of

# Bumped when a change outside the hashed sources alters what is built.
_FORMAT = 1


def default_cache_root() -> Path:
    """`$SALUS_CACHE`, or `~/.cache/salus`."""
    return Path(os.environ.get("SALUS_CACHE") or Path.home() / ".cache" / "salus")


def content_key(name: str, settings: object, sources: Iterable[Path] = ()) -> str:
    """`name-<16 hex digits>` over JSON-able settings and the text of the sources that build the content."""
    digest = hashlib.sha256(json.dumps([_FORMAT, settings], sort_keys=True).encode())
    for source in sorted(sources):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return f"{name}-{digest.hexdigest()[:16]}"


def cached(folder: Path, key: str, build: Callable[[Path], None]) -> Path:
    """`folder/key`, built first by `build(path)` where it is missing.

    `build` fills a folder beside it that is renamed when complete, so a reader never sees half of one. Two processes
    that build the same thing end with one copy.

    Raises:
        FullDiskError: there is no room for it.
    """
    target = folder / key
    if target.is_dir():
        return target
    partial = folder / f".{key}.{uuid.uuid4().hex[:8]}"
    try:
        with disk_of(folder):
            make_folder(partial)
            build(partial)
        try:
            move_into_place(partial, target)
        except OSError:
            # Another process finished first; its copy is the same content.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
