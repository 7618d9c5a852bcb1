"""The machine around a run: proxies in the environment, a long TMPDIR, and locales without UTF-8."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from actors.contract.loopback import no_proxy
from pipelines.cluster.environment import environment
from tests.root import ROOT

# Nothing listens there, so whatever asks it fails.
DEAD = "http://127.0.0.1:9"
PROXIES = {name: DEAD for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")}
# Longer than a socket's path may be.
LONG = "/".join(["a-folder-with-quite-a-long-name"] * 4)
IN_RAY = """
import os, tempfile, urllib.request
import ray
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig

@ray.remote
def asked():
    with urllib.request.urlopen(URL, timeout=20) as reply:
        return reply.status, os.environ["http_proxy"], len(tempfile.gettempdir())

with embedded_ray(ClusterConfig(logical_cpus=1), "proxies", 1):
    print(*ray.get(asked.remote()))
"""


class Models(http.server.BaseHTTPRequestHandler):
    """Answers as an OpenAI-compatible server asked for its models."""

    def do_GET(self) -> None:
        body = json.dumps({"object": "list", "data": []}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is written of it."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/v1"
        listening.shutdown()


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in PROXIES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("proxied")
def test_loopback_goes_through_no_proxy(server: str) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server}/models")
    with environment(no_proxy()):
        assert httpx.get(f"{server}/models").status_code == 200
        assert httpx.get(f"{server}/models".replace("127.0.0.1", "localhost")).status_code == 200
        with urllib.request.urlopen(f"{server}/models", timeout=5) as reply:
            assert reply.status == 200
        with openai.OpenAI(base_url=server, api_key="x", max_retries=0) as client:
            assert client.models.list().data == []
        # Other hosts still do.
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://host.invalid/")


@pytest.mark.parametrize(
    ("given", "both"),
    [
        ({}, "localhost,127.0.0.1,::1,0.0.0.0"),
        ({"NO_PROXY": "a.org, localhost"}, "a.org,localhost,127.0.0.1,::1,0.0.0.0"),
        ({"NO_PROXY": "a.org", "no_proxy": "b.org"}, "a.org,b.org,localhost,127.0.0.1,::1,0.0.0.0"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_what_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], both: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert no_proxy() == {"NO_PROXY": both, "no_proxy": both}


def salus(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *arguments],
        env=kept | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "variables",
    [{"LC_ALL": "C"}, pytest.param({"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, marks=pytest.mark.slow)],
)
def test_output_and_files_are_utf8_in_any_locale(tmp_path: Path, variables: dict[str, str]) -> None:
    data = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Wie viel Insulin für Änne 😀, Fall {n}?", "level": n % 2} for n in range(60)]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "für.yaml"
    told = ["--model", "org/Modell-ü-1B", "--data", str(data), "--judge", "RULES", "--name", "x", "--out", str(out)]
    made = salus("init", *told, **variables)
    assert made.returncode == 0, made.stderr.decode()
    assert "für.yaml" in made.stdout.decode("utf-8") and "Modell-ü-1B" in out.read_text(encoding="utf-8")
    columns = "data.columns={prompt: prompt, level: level}"
    seen = salus("data", "inspect", "tabular", "--path", str(data), "--set", columns, **variables)
    assert seen.returncode == 0, seen.stderr.decode()
    assert "für Änne 😀" in seen.stdout.decode("utf-8") and "─" in seen.stdout.decode("utf-8")
    refused = salus("plan", "recipé.yaml", **variables)
    assert refused.returncode == 2 and "recipé.yaml does not exist" in refused.stderr.decode("utf-8")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("own_ray")
def test_ray_with_proxies_and_a_long_tmpdir(server: str, tmp_path: Path) -> None:
    long = tmp_path / LONG
    long.mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if name.upper() != "NO_PROXY"}
    ran = subprocess.run(
        [sys.executable, "-c", IN_RAY.replace("URL", repr(f"{server}/models"))],
        env=kept | PROXIES | {"TMPDIR": str(long), "PYTHONPATH": str(ROOT), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    status, proxy, length = ran.stdout.split()
    assert (status, proxy) == ("200", DEAD) and int(length) < len(str(long))
