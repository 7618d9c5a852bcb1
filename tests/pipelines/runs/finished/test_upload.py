"""Uploads to the hub that cannot be: what the client raises becomes one sentence, and nothing more is sent."""

from __future__ import annotations

from collections.abc import Iterator

import huggingface_hub.constants
import pytest

from actors.errors import SalusError
from pipelines.runs.finished.hub.upload import HubFile, HubPush, Uploaded, upload
from tests.hub_server import TOKEN, HubServer, Repo, hub_for_client

REPO = "clinic/assistant"
FILES = (
    HubFile("README.md", b"---\ntags: [salus]\n---\n\n# Policy\n"),
    HubFile("config.json", b"{}"),
    HubFile("model.safetensors", b"weights"),
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_for_client(monkeypatch) as server:
        yield server


def sent(public: bool = False) -> Uploaded:
    return upload(HubPush(REPO, "model", public, FILES, "a policy"))


def test_the_same_twice_is_no_second_upload(hub: HubServer) -> None:
    sent()
    assert hub.repos[f"models/{REPO}"].files.keys() >= {file.path for file in FILES}
    puts = [each for each in hub.asked if each.startswith("PUT")]
    sent()
    assert [each for each in hub.asked if each.startswith("PUT")] == puts and len(puts) == 1


@pytest.mark.parametrize(
    ("there", "public", "sentence"),
    [
        (Repo(private=False), False, "is public on the hub, and this upload is private, so nothing .*: add --public"),
        (
            Repo(private=True),
            True,
            "is private on the hub, and this upload is public, so nothing .*: leave --public out",
        ),
    ],
)
def test_a_repository_with_another_visibility_stays_as_it_is(
    there: Repo, public: bool, sentence: str, hub: HubServer
) -> None:
    hub.repos[f"models/{REPO}"] = there
    with pytest.raises(SalusError, match=sentence):
        sent(public)
    assert there.files == {} and hub.blobs == {}


def test_an_owner_that_opens_every_new_repository(hub: HubServer) -> None:
    hub.always_public = True
    with pytest.raises(SalusError, match="its owner allows no other"):
        sent()
    assert hub.blobs == {}


@pytest.mark.parametrize(
    ("part", "status", "message", "sentence"),
    [
        (
            "GET /api/models",
            401,
            "Invalid credentials in Authorization header",
            "status 401 .*run `hf auth login` again",
        ),
        (
            "/api/repos/create",
            403,
            "You have no rights here",
            r"403 \(You have no rights here\): take a token .* clinic,",
        ),
        ("/api/repos/create", 409, "exists", "is there already, and this token may not see it"),
        ("/preupload/", 413, "too large", r"status 413 \(too large\): change what it names"),
        ("/objects/batch", 402, "storage limit", r"status 402 \(storage limit\)"),
        ("/lfs/upload", 403, "expired", r"status 403 \(expired\)"),
        ("/commit/", 412, "A commit has happened since.", "status 412 .*: it was changed meanwhile; push again"),
        ("/commit/", 503, "down", "status 503 .*: push again later"),
        ("validate-yaml", 400, "no such licence", "refuses|does not take"),
    ],
)
def test_a_hub_that_refuses_says_so_in_a_sentence(
    part: str, status: int, message: str, sentence: str, hub: HubServer
) -> None:
    hub.refusals[part] = (status, message)
    with pytest.raises(SalusError, match=sentence) as told:
        sent()
    assert "\n" not in told.value.sentence and TOKEN not in told.value.sentence


def test_a_hub_that_is_not_there(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SalusError, match=r"127.0.0.1:9 cannot be reached for clinic/assistant .*HF_ENDPOINT"):
        sent()


def test_what_the_hub_leaves_out_is_told(hub: HubServer) -> None:
    hub.ignored = frozenset({"config.json"})
    with pytest.raises(SalusError, match=r"has not taken config\.json; see whether a \.gitignore"):
        sent()


@pytest.mark.parametrize("name", ["assistant", "a/b/c", "../x", "clinic/", "clinic/a--b", "clinic/x.git", "a b/c"])
def test_a_name_of_no_repository(name: str) -> None:
    with pytest.raises(SalusError, match="write it as ORGANISATION/NAME"):
        upload(HubPush(name, "model", False, (), "x"))
