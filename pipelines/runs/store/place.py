"""Where a run is: a folder in reach of this machine, or an address such as s3://bucket/run."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from actors.errors import SalusError
from pipelines.data.tiny.cache import default_cache_root

SCHEMES = ("s3", "gs", "az", "file")
# Schemes whose first part is a bucket.
BUCKETS = frozenset({"s3", "gs", "az"})
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<path>.*)", re.DOTALL)
_MAYBE_PATH = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):/+(?P<rest>.*)", re.DOTALL)
# No part is hidden, empty or "..", and none holds what an address could hide a key or an option in.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True)
class RemotePlace:
    """An address below which there is a run, or several."""

    scheme: str
    # Bucket and key, or of a file system the absolute path.
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> RemotePlace:
        return RemotePlace(self.scheme, f"{self.path}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def bucket(self) -> str | None:
        """The bucket; None on a file system."""
        return self.path.split("/", 1)[0] if self.scheme in BUCKETS else None


Place: TypeAlias = Path | RemotePlace


def place_of(text: str) -> Place:
    """A place as a user names it.

    Raises:
        SalusError: it is an address of another kind; the sentence does not repeat it, as it may hold a key.
    """
    if (found := _ADDRESS.fullmatch(text)) is None:
        return Path(text)
    scheme, path = found["scheme"].lower(), found["path"].rstrip("/")
    if scheme not in SCHEMES:
        raise SalusError(
            f"There is no store for addresses that begin with {scheme}://; give a folder, or s3://BUCKET/RUN,"
            " gs://BUCKET/RUN, az://CONTAINER/RUN or file:///FOLDER/RUN."
        )
    # Of the path of a file system what follows the root.
    parts = path.removeprefix("/").split("/") if scheme == "file" and path.startswith("/") else path.split("/")
    if (scheme == "file") != path.startswith("/") or not all(map(_PART.fullmatch, parts)):
        raise SalusError(
            f"This is no {scheme}:// address of a run: between slashes are letters, digits and . _ = + - alone, as in"
            " s3://BUCKET/RUN or file:///FOLDER/RUN. Keys and endpoints go into the environment (AWS_ACCESS_KEY_ID,"
            " AWS_ENDPOINT_URL)."
        )
    return RemotePlace(scheme, path)


def address_of(place: Path | str) -> RemotePlace | None:
    """The address that a setting or an option names; None where it names a folder.

    A path holds one slash where an address has two, and a file's three.

    Raises:
        SalusError: it is an address of another kind.
    """
    found = _MAYBE_PATH.fullmatch(str(place))
    if found is None:
        return None
    remote = place_of(f"{found['scheme']}://{'/' if found['scheme'] == 'file' else ''}{found['rest']}")
    assert isinstance(remote, RemotePlace)
    return remote


def local_folder(text: str, what: str) -> Path:
    """A place that must be a folder; `what` needs it, as the beginning of a sentence.

    Raises:
        SalusError: it is an address.
    """
    place = place_of(text)
    if isinstance(place, RemotePlace):
        raise SalusError(f"{what} a local folder, not {place}; give one.")
    return place


def working_folder(place: Place) -> Path:
    """Where a run is worked on: the place itself, or for an address a folder in the cache that has the run's name.

    The same bucket behind another endpoint is another run.
    """
    if isinstance(place, Path):
        return place
    return copy_of(place, "runs")


def s3_endpoint() -> str | None:
    """The URL of an S3 server other than AWS's own, as the AWS tools are told of it."""
    return next((url for name in _ENDPOINTS if (url := os.environ.get(name, "").strip())), None)


def copy_of(place: RemotePlace, kind: str) -> Path:
    """Where the local copy of a shared folder (`pipelines.runs.store.shared`) of this address is, by what it holds."""
    key = hashlib.sha256(f"{place} {s3_endpoint() or ''}".encode()).hexdigest()[:16]
    return default_cache_root() / kind / key / place.name
