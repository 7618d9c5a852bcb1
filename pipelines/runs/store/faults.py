"""What a store answers when it refuses, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.errors import SalusError
from pipelines.runs.store.place import RemotePlace

# Words of obstore, of S3 and Google's storage, and of botocore.
_REFUSED = ("403 Forbidden", "401 Unauthorized", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch",
            "ExpiredToken", "credential", "Credential", "config profile", "service account")  # fmt: skip
_UNREACHABLE = ("HTTP error", "timed out", "Timeout", "503 Service Unavailable", "502 Bad Gateway")
_ELSEWHERE = ("301 Moved", "PermanentRedirect", "AuthorizationHeaderMalformed", "configured region")
_LONGEST = 300


@contextmanager
def told(place: RemotePlace, doing: str, cure: str | None = None) -> Iterator[None]:
    """Turn a store's fault into a sentence; `doing` is what could not be done, as an infinitive.

    Raises:
        SalusError: the store, or the disk on this side, refuses.
    """
    try:
        yield
    except OSError as error:
        words = " ".join(str(error).split())[:_LONGEST]
        raise SalusError(f"Cannot {doing} {place} ({words}); {cure or cure_of(words, place)}.") from error


@contextmanager
def called(place: RemotePlace, root: Path) -> Iterator[None]:
    """Let sentences name a run's address, and not the folder it is worked on or shown in.

    Raises:
        SalusError: one was raised inside.
    """
    try:
        yield
    except SalusError as error:
        raise SalusError(error.sentence.replace(str(root), str(place))) from error


def cure_of(words: str, place: RemotePlace) -> str:
    """What mends a fault, as far as its words tell."""
    if any(word in words for word in _REFUSED):
        if place.scheme == "gs":
            return "let GOOGLE_APPLICATION_CREDENTIALS name credentials that may read and write there"
        if place.scheme == "az":
            return "let AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY name an account that may write there"
        return (
            "credentials are missing or may not do this: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
            " AWS_PROFILE, to an account that may read and write there"
        )
    if any(word in words for word in _ELSEWHERE):
        return "the bucket is in another region: set AWS_REGION to it"
    if any(word in words for word in _UNREACHABLE):
        return "see whether the network and the endpoint (AWS_ENDPOINT_URL, for an S3 server of your own) are up"
    return "mend that and run the same command again"
