"""The file system behind an address, asked before anything costly whether it is there and lets this account in."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

from pyarrow import fs

from actors.errors import SalusError
from pipelines.store.faults import told
from pipelines.store.objects import Objects
from pipelines.store.place import RemotePlace, s3_endpoint

_CONNECT_S = 10.0
_REQUEST_S = 60.0
# Google's client would go on for a quarter of an hour.
_RETRY = timedelta(seconds=60)
_REGION_OF_SERVERS_WITHOUT = "us-east-1"


def connect(place: RemotePlace) -> Objects:
    """The objects below a place; its bucket is known to be there.

    Raises:
        SalusError: no such bucket, no credentials, an endpoint that is wrong or out of reach.
    """
    with told(place, "reach"):
        files = _file_system(place)
        bucket = place.bucket
        there = bucket is None or files.get_file_info(bucket).type != fs.FileType.NotFound
        # Some stores show a bucket to an account that may not list it.
        objects = Objects(place, files)
        if there:
            objects.folders()
    if not there:
        raise SalusError(f"There is no bucket {bucket} for {place}; make it, or give another address with --run.")
    return objects


def _file_system(place: RemotePlace) -> fs.FileSystem:
    if place.scheme == "s3":
        return _s3()
    if place.scheme == "gs":
        return fs.GcsFileSystem(retry_time_limit=_RETRY)
    return fs.LocalFileSystem()


def _s3() -> fs.FileSystem:
    # pyarrow reads these variables only where it is given a URI, and then takes options from the URI too.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    url = s3_endpoint()
    # The stubs are of an older pyarrow, which does not know the first option: a small object in one request.
    return fs.S3FileSystem(  # type: ignore[call-arg]
        allow_delayed_open=True,
        region=region or (_REGION_OF_SERVERS_WITHOUT if url is not None else None),
        scheme=_scheme(url) if url is not None else "https",
        endpoint_override=urlsplit(url).netloc if url is not None else None,
        connect_timeout=_CONNECT_S,
        request_timeout=_REQUEST_S,
    )


def _scheme(url: str) -> Literal["http", "https"]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.path.strip("/"):
        raise SalusError("AWS_ENDPOINT_URL is not the URL of a server; set it as in http://HOST:PORT.")
    return "https" if parts.scheme == "https" else "http"
