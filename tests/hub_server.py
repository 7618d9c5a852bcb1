"""A real HTTP server on this machine that speaks the part of the hub's API that an upload needs.

Models and data sets: information, creation, upload modes, LFS, commits, what a revision holds. It has no Xet.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import huggingface_hub.constants
import pytest

TOKEN = "hf_" + "local" * 7
_LFS = (".safetensors", ".parquet")


@dataclass
class Repo:
    """One repository: who may see it, and what its last revision holds."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    # Summaries, oldest first.
    commits: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def sha(self) -> str:
        return hashlib.sha1("\n".join(self.commits).encode()).hexdigest()


@dataclass
class HubServer:
    """What the server holds, what it was asked, and which requests it refuses."""

    url: str = ""
    # By kind and name, as `models/clinic/assistant`.
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    # Part of `METHOD /path` -> status and message.
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    # Whatever a client asks for, a new repository is open to all.
    always_public: bool = False
    # Files that the server leaves out of commits, as one with a .gitignore does.
    ignored: frozenset[str] = frozenset()


class RefusedError(Exception):
    """The server's answer is an error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


def answer(hub: HubServer, method: str, path: str, body: bytes) -> Any:
    """What is replied to one request, as JSON; `b""` for none."""
    for pattern, handler in ROUTES:
        if (found := re.fullmatch(pattern, f"{method} {path}")) is not None:
            return handler(hub, found, body)
    raise RefusedError(404, f"no such route: {method} {path}")


def _repo(hub: HubServer, found: re.Match[str]) -> Repo:
    repo = hub.repos.get(f"{found['kind']}/{found['name']}")
    if repo is None:
        raise RefusedError(404, "Repository not found", "RepoNotFound")
    return repo


def _info(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    repo = _repo(hub, found)
    siblings = [{"rfilename": name} for name in repo.files]
    return {"id": found["name"], "private": repo.private, "sha": repo.sha, "siblings": siblings}


def _create(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    asked = json.loads(body)
    kind, name = f"{asked['type']}s", f"{asked['organization']}/{asked['name']}"
    if f"{kind}/{name}" in hub.repos:
        raise RefusedError(409, "You already created this repo")
    private = asked["visibility"] == "private" and not hub.always_public
    hub.repos[f"{kind}/{name}"] = Repo(private, {".gitattributes": b"*.safetensors filter=lfs\n"})
    return {"url": f"{hub.url}/{'' if kind == 'models' else f'{kind}/'}{name}"}


def _yaml(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    assert json.loads(body)["content"].startswith("---\n")
    return {"errors": [], "warnings": []}


def _preupload(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    _repo(hub, found)
    files = json.loads(body)["files"]
    return {
        "files": [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LFS) else "regular",
                "shouldIgnore": file["path"] in hub.ignored,
            }
            for file in files
        ]
    }


def _batch(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    objects = []
    for each in json.loads(body)["objects"]:
        actions = {name: {"href": f"{hub.url}/lfs/{name}/{each['oid']}"} for name in ("upload", "verify")}
        objects.append(each if each["oid"] in hub.blobs else each | {"actions": actions})
    return {"transfer": "basic", "objects": objects}


def _upload(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    hub.blobs[found["oid"]] = body
    return b""


def _verify(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    held = hub.blobs[found["oid"]]
    if hashlib.sha256(held).hexdigest() != found["oid"] or len(held) != json.loads(body)["size"]:
        raise RefusedError(422, "the object has another content")
    return {}


def _commit(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    repo = _repo(hub, found)
    lines = [json.loads(line) for line in body.splitlines()]
    header = lines.pop(0)["value"]
    if header.get("parentCommit", repo.sha) != repo.sha:
        raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repo.files)
    for line in lines:
        value = line["value"]
        match line["key"]:
            case "file":
                files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                files[value["path"]] = hub.blobs[value["oid"]]
            case "deletedFile":
                del files[value["path"]]
    repo.files = files
    repo.commits.append(header["summary"])
    return {"success": True, "commitOid": repo.sha, "commitUrl": f"{hub.url}/{found['name']}/commit/{repo.sha}"}


def _paths(hub: HubServer, found: re.Match[str], body: bytes) -> Any:
    held = _repo(hub, found).files
    asked = parse_qs(body.decode())["paths"]
    return [
        {"type": "file", "path": name, "size": len(held[name]), "oid": hashlib.sha1(held[name]).hexdigest()}
        for name in asked
        if name in held
    ]


_NAME = r"(?P<kind>models|datasets)/(?P<name>[\w.-]+/[\w.-]+)"
ROUTES: tuple[tuple[str, Callable[[HubServer, re.Match[str], bytes], Any]], ...] = (
    (rf"GET /api/{_NAME}", _info),
    (r"POST /api/repos/create", _create),
    (r"POST /api/validate-yaml", _yaml),
    (rf"POST /api/{_NAME}/preupload/main", _preupload),
    (r"POST (/datasets)?/[\w.-]+/[\w.-]+\.git/info/lfs/objects/batch", _batch),
    (r"PUT /lfs/upload/(?P<oid>\w+)", _upload),
    (r"POST /lfs/verify/(?P<oid>\w+)", _verify),
    (rf"POST /api/{_NAME}/commit/main", _commit),
    (rf"POST /api/{_NAME}/paths-info/\w+", _paths),
)


@contextmanager
def hub_serving() -> Iterator[HubServer]:
    """A hub without repositories on a free port of the loopback interface, stopped at the end."""
    hub = HubServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = urlsplit(self.path).path
            asked = f"{self.command} {path}"
            hub.asked.append(asked)
            refusal = next((refusal for part, refusal in hub.refusals.items() if part in asked), None)
            try:
                if refusal is not None:
                    raise RefusedError(*refusal)
                # Uploads go to a store of their own, which is told nothing of the token.
                if self.command != "PUT" and self.headers.get("authorization") != f"Bearer {TOKEN}":
                    raise RefusedError(401, "Invalid credentials in Authorization header")
                self._reply(200, answer(hub, self.command, path, body), {})
            except RefusedError as error:
                headers = {"X-Error-Message": error.message, **({"X-Error-Code": error.code} if error.code else {})}
                self._reply(error.status, {"error": error.message}, headers)

        do_POST = do_PUT = do_GET

        def _reply(self, status: int, content: Any, headers: dict[str, str]) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def hub_for_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub of this machine and a token for it; huggingface_hub, which reads the environment once, asks it alone."""
    with hub_serving() as server:
        for name, value in {"ENDPOINT": server.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
