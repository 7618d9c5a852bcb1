"""One whole run of two cycles whose endpoint is asked, and hurt, at its end."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
import psutil

from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder, strings
from pipelines.alignment.align import align
from pipelines.config.recipe import Recipe
from pipelines.runs.summary import Summary
from tests.e2e.processes import processes
from tests.half_open import HALF_HEADER, half_open
from tests.quiet_reporter import QuietReporter

ASKED = 6
# Not the workers of Ray Train, whose store torch has listen at every address.
RAY = ("gcs_server", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::ProxyActor")


@dataclass
class Served:
    """What a client saw while the endpoint was up."""

    models: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    after_a_kill: list[str] = field(default_factory=list)
    # Seconds of one answer beside thousands of connections that say half a header.
    beside_half_open_s: float = float("inf")
    # The status of the page that would tell the names of applications.
    routes_status: int = 0
    # Addresses at which Ray's own processes and Serve's proxy listen.
    listening: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Aligned:
    recipe: Recipe
    folder: RunFolder
    summary: Summary
    served: Served
    # In the temporary folder: what others than its user could have read while the run served, and all that it left.
    readable: list[Path]
    left: list[Path]


def answers(recipe: Recipe, prompts: list[str]) -> list[str]:
    url = f"http://{recipe.publish.host}:{recipe.publish.port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", timeout=30, max_retries=0) as client:
        return [
            (
                client.chat.completions.create(
                    model=recipe.publish.model_id,
                    messages=[{"role": "user", "content": prompt}],
                    temperature=0.0,
                    max_tokens=recipe.generate.sampling.max_tokens,
                )
                .choices[0]
                .message.content
                or ""
            ).strip()
            for prompt in prompts
        ]


def answers_once_back(recipe: Recipe, prompts: list[str]) -> list[str]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            return answers(recipe, prompts)
        except openai.APIError:
            time.sleep(0.5)
    return []


def whole_run(recipe: Recipe, root: Path) -> Aligned:
    """Align in `root`; the endpoint's replica is killed once it has answered, and the next one asked the same."""
    folder = RunFolder(root)
    served = Served()
    readable: list[Path] = []

    def client(url: str) -> None:
        prompts = strings(read_folder(folder.prompts("test")), "prompt")[:ASKED]
        with openai.OpenAI(base_url=url, api_key="none") as models:
            served.models = [model.id for model in models.models.list().data]
        served.answers = answers(recipe, prompts)
        with half_open(recipe.publish.port, 4300, HALF_HEADER):
            began = time.monotonic()
            answers(recipe, prompts[:1])
            served.beside_half_open_s = time.monotonic() - began
        served.routes_status = httpx.get(url.removesuffix("/v1") + "/-/routes").status_code
        started = [each for each in psutil.Process().children(recursive=True) if each.name() in RAY]
        sockets = [each for process in started for each in process.net_connections("inet")]
        served.listening = {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
        for process in processes("PolicyServer"):
            process.kill()
        served.after_a_kill = answers_once_back(recipe, prompts)
        readable.extend(open_to_others(Path(tempfile.gettempdir())))

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as place:
        former, tempfile.tempdir = tempfile.tempdir, place
        try:
            summary = align(recipe, root, QuietReporter(), while_served=client)
        finally:
            tempfile.tempdir = former
        left = sorted(Path(place).rglob("*"))
    return Aligned(recipe, folder, summary, served, readable, left)


def open_to_others(root: Path) -> list[Path]:
    """What others than its user may read, write or enter below a folder; not Ray's own, which it opens to everybody."""
    found: list[Path] = []
    for path in root.iterdir():
        if path.is_symlink() or path.name == "ray":
            continue
        if path.stat().st_mode & 0o077:
            found.append(path)
        elif path.is_dir():
            found += open_to_others(path)
    return found
