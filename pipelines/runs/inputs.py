"""What a run reads from an object store: fetched whole into this machine's cache before anything starts.

An input is an object, or all objects below a folder. Its place in the cache follows from the address and from what the
store lists there: names, sizes, e-tags. So what changed in the store is fetched anew, and the rest is not. Where the
folder holds `SHA256SUMS`, as `sha256sum` writes it, every file that it names is held against its sum.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.private import private_files
from actors.files.sums import file_sum
from pipelines.config.recipe import Recipe
from pipelines.config.section import FetchedPath, is_address
from pipelines.data.tiny.cache import cached, content_key, default_cache_root
from pipelines.runs.store.connect import connect
from pipelines.runs.store.faults import told
from pipelines.runs.store.mirror import AT_ONCE
from pipelines.runs.store.objects import ObjectInfo, Objects
from pipelines.runs.store.place import RemotePlace, place_of, s3_endpoint

# The settings of a recipe that may be addresses.
INPUTS = (
    "data.path",
    "data.probe_path",
    "model.path",
    "judge.path",
    "judge.calibration",
    "sft.path",
    "preference.egida_pairs.path",
    "preference.feedback.path",
    "red_team.attacker.path",
    "red_team.templates",
)
_SUMS = "SHA256SUMS"
_GIB = 2**30
Listing = Mapping[str, ObjectInfo]


def fetch_inputs(recipe: Recipe, say: Callable[[str], None]) -> Recipe:
    """The recipe with everything that it names by address in this machine's cache.

    Raises:
        SalusError: as `fetch_input`; names the setting.
    """
    for setting in INPUTS:
        path = _setting(recipe, setting)
        if isinstance(path, str) and is_address(path):
            recipe = _with(recipe, setting.split("."), FetchedPath.of(fetch_input(path, setting, say), path))
    return recipe


def fetch_input(text: str, what: str, say: Callable[[str], None]) -> Path:
    """The local copy of what is at an address, fetched first where it is not there yet.

    Args:
        text: the address of an object or a folder.
        what: names it in faults, as a setting or an option.
        say: is told what is fetched.

    Raises:
        SalusError: no such bucket or object, no rights, or what came is not what the store lists.
    """
    try:
        place = place_of(text)
    except SalusError as error:
        raise SalusError(f"{what}: {error.sentence}") from error
    if not isinstance(place, RemotePlace):
        return place
    objects = connect(place, f"give another address as {what}")
    with told(place, "read"):
        listing = _listing(objects)
    if not listing:
        raise SalusError(f"{what}: there is nothing at {place}; give the address of a file or of a folder with files.")
    key = _key(place, listing)
    target = default_cache_root() / "inputs" / key / place.name
    if target.exists() and not _in_size(target, listing):
        # A power cut, or a hand.
        shutil.rmtree(target.parent, ignore_errors=True)
    if not target.exists():
        size = sum(info.bytes for info in listing.values())
        say(f"fetching {place} ({len(listing)} files, {size / _GIB:.2f} GiB) into {target}")
        with told(place, "fetch"), private_files():
            cached(target.parent.parent, key, lambda folder: _fetch(objects, listing, folder / place.name))
    return target


def _listing(objects: Objects) -> Listing:
    """Every object of an input by its name below the place; the place itself, where it is one object, has no name."""
    if (one := objects.info("")) is not None:
        return {"": one}
    found = {name: info for name, info in objects.list().items() if not _hidden(name)}
    for name in found:
        if ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
            raise SalusError(f"{objects.place} holds an object {name!r}, which no file can be called; rename it.")
    return found


def _fetch(objects: Objects, listing: Listing, target: Path) -> None:
    """Bring every object below `target`, or the one there is to it, several at once.

    Raises:
        SalusError: one has another size or sum than it should, or the store changed meanwhile.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as threads:
        coming = [threads.submit(_fetch_one, objects, name, target) for name in listing]
        try:
            for each in coming:
                each.result()
        finally:
            for each in coming:
                each.cancel()
    if _key(objects.place, _listing(objects)) != _key(objects.place, listing) or not _in_size(target, listing):
        raise SalusError(f"{objects.place} changed while it was fetched; run the same command again.")
    if (target / _SUMS).is_file():
        _check_sums(objects.place, target)


def _fetch_one(objects: Objects, name: str, target: Path) -> None:
    file = target / name if name else target
    make_folder(file.parent)
    objects.download(name, file)


def _check_sums(place: RemotePlace, folder: Path) -> None:
    for line in (folder / _SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition(" ")
        file = folder / name.strip().removeprefix("*")
        if file.is_relative_to(folder) and ".." not in file.parts and file.is_file() and file_sum(file) != digest:
            raise SalusError(f"{place}/{name.strip()} is not what {_SUMS} beside it says; upload it again.")


def _in_size(target: Path, listing: Listing) -> bool:
    """Whether every file is there in its size."""
    files = ((target / name if name else target, info.bytes) for name, info in listing.items())
    return all(file.is_file() and file.stat().st_size == size for file, size in files)


def _key(place: RemotePlace, listing: Listing) -> str:
    there = sorted([name, info.bytes, info.e_tag or info.changed_at.isoformat()] for name, info in listing.items())
    return content_key("input", [str(place), s3_endpoint(), there])


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts if part != "..") or name.endswith("/")


def _setting(recipe: Recipe, dotted: str) -> Any:
    found: Any = recipe
    for name in dotted.split("."):
        found = getattr(found, name, None)
    return found


def _with(section: Any, names: list[str], value: str) -> Any:
    """A copy of a section with one setting changed; what recipes check of it was checked before."""
    name, *inner = names
    new = _with(getattr(section, name), inner, value) if inner else value
    return section.model_copy(update={name: new})
