"""The store behind an address, asked before anything costly whether it is there and lets this account in."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from actors.errors import SalusError
from pipelines.runs.store.faults import told
from pipelines.runs.store.objects import Objects, store_faults
from pipelines.runs.store.place import RemotePlace, s3_endpoint

if TYPE_CHECKING:
    # Not importable at run time.
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

_CONNECT = timedelta(seconds=10)
_SILENCE = timedelta(seconds=60)
# Of one request with all that comes of it, such as the weights of a model; silence is noticed before.
_REQUEST = timedelta(hours=1)
_RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": _SILENCE}
# botocore hands out credentials that are good for ten minutes at least.
_CREDENTIALS = timedelta(minutes=10)
_REGION_OF_SERVERS_WITHOUT = "us-east-1"


def connect(place: RemotePlace, elsewhere: str = "give another address with --run") -> Objects:
    """The objects below a place; its bucket is known to be there. `elsewhere`: what else may mend that it is not.

    Raises:
        SalusError: no such bucket, no credentials, an endpoint that is wrong or out of reach.
    """
    with told(place, "reach"):
        with store_faults():
            objects = Objects(place, _store(place))
        try:
            # Some stores show a bucket to an account that may not list it.
            objects.folders()
        except OSError as error:
            if place.bucket is None or "NoSuchBucket" not in str(error):
                raise
            raise SalusError(f"There is no bucket {place.bucket} for {place}; make it, or {elsewhere}.") from error
    return objects


def _store(place: RemotePlace) -> ObjectStore:
    if place.bucket is None:
        return LocalStore()
    if place.scheme == "gs":
        return GCSStore(place.bucket, client_options=_client(None), retry_config=_RETRY)
    if place.scheme == "az":
        # The account and its keys are in AZURE_STORAGE_ACCOUNT_NAME and the like, which obstore reads.
        return AzureStore(place.bucket, client_options=_client(None), retry_config=_RETRY)
    url = s3_endpoint()
    provider = _aws_credentials()
    # As AWS's tools take it; obstore reads variables alone, and botocore one of these two.
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or provider.config.get("region")
    config: S3Config = {"region": region or _REGION_OF_SERVERS_WITHOUT}
    if url is not None:
        config["endpoint"] = _checked(url)
    return S3Store(
        place.bucket,
        config=config,
        credential_provider=provider,
        client_options=_client(url),
        retry_config=_RETRY,
    )


def _aws_credentials() -> Boto3CredentialProvider:
    """Credentials from wherever AWS's tools take them: variables, profiles, roles; OSError where there are none."""
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(ttl=_CREDENTIALS)
    except (BotoCoreError, ValueError) as error:
        words = "no credentials" if isinstance(error, ValueError) else str(error)
        raise OSError(words) from error


def _client(url: str | None) -> ClientConfig:
    return {
        "allow_http": url is not None and url.startswith("http://"),
        "connect_timeout": _CONNECT,
        "read_timeout": _SILENCE,
        "timeout": _REQUEST,
    }


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.path.strip("/"):
        raise SalusError("AWS_ENDPOINT_URL is not the URL of a server; set it as in http://HOST:PORT.")
    return f"{parts.scheme}://{parts.netloc}"
