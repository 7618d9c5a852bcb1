"""What is fetched from a hub, and what is said where nothing can be; the hub is a server on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from actors.errors import SalusError
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import gather_policy
from tests.quiet_reporter import QuietReporter
from tests.tiny_model import make_tiny_model

COMMIT = "0" * 39 + "1"
# Beside the files of a chat model: the same weights again, another tokenizer, other formats, a pickle.
OTHERS = ("consolidated.safetensors", "tekken.json", "onnx/model.safetensors", "original/params.json", "model.bin")


class Hub(BaseHTTPRequestHandler):
    """Three models: one that is open, one that is gated, and one that is not there."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "gated/" in path:
            return self._reply(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if "open/model" not in path:
            return self._reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if "/tree/" in path:
            return self._reply(200, json.dumps([self._entry(file) for file in self._files()]).encode())
        if path.startswith("/api/"):
            return self._reply(200, json.dumps({"id": "open/model", "sha": COMMIT}).encode())
        content = (self.folder / path.partition(f"/resolve/{COMMIT}/")[2]).read_bytes()
        etag = hashlib.sha1(content).hexdigest()
        return self._reply(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def _files(self) -> list[str]:
        return sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())

    def _entry(self, name: str) -> dict[str, object]:
        content = (self.folder / name).read_bytes()
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the model that is open; huggingface_hub asks this server alone, and caches below `tmp_path`."""
    folder = make_tiny_model(tmp_path / "open")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ThisHub", (Hub,), {"folder": folder}))
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    settings = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": False,
    }
    for name, value in settings.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder
    server.shutdown()
    server.server_close()


def recipe(name: str) -> Recipe:
    return load_recipe("demo", ["model.source=hub", f"model.path={name}"])


def test_one_copy_of_the_weights_is_fetched(hub: Path) -> None:
    wanted = {path.name for path in hub.iterdir()}
    for name in OTHERS:
        (hub / name).parent.mkdir(exist_ok=True)
        (hub / name).write_bytes(b"other")
    fetched = Path(gather_policy(recipe("open/model"), QuietReporter()).path)
    assert {str(path.relative_to(fetched)) for path in fetched.rglob("*") if path.is_file()} == wanted


def test_a_gated_model_says_how_to_get_at_it(hub: Path) -> None:
    with pytest.raises(SalusError, match=r"Model gated/model is gated: accept the licence on its page, then run `hf a"):
        gather_policy(recipe("gated/model"), QuietReporter())


@pytest.mark.parametrize("name", ["opne/model", "no such name"])
def test_a_name_that_does_not_exist_says_so(hub: Path, name: str) -> None:
    with pytest.raises(SalusError, match=r"The hub has no model '.*' that you may see; write its name as ORG"):
        gather_policy(recipe(name), QuietReporter())


def test_a_hub_that_cannot_be_reached_names_the_way_round(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SalusError, match=r"cannot be fetched from the hub \(LocalEntryNotFoundError\); fetch it where"):
        gather_policy(recipe("open/model"), QuietReporter())
