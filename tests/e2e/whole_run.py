"""One whole run of two cycles whose endpoint is asked, and hurt, at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import openai

from actors.run_folder import RunFolder
from actors.tables import read_folder, strings
from pipelines.align import align
from pipelines.config.recipe import Recipe
from pipelines.progress import QuietReporter
from pipelines.report.summary import Summary
from tests.e2e.processes import processes

ASKED = 6


@dataclass
class Served:
    """What a client saw while the endpoint was up."""

    models: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    after_a_kill: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Aligned:
    recipe: Recipe
    folder: RunFolder
    summary: Summary
    served: Served


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

    def client(url: str) -> None:
        prompts = strings(read_folder(folder.prompts("test")), "prompt")[:ASKED]
        with openai.OpenAI(base_url=url, api_key="none") as models:
            served.models = [model.id for model in models.models.list().data]
        served.answers = answers(recipe, prompts)
        for process in processes("PolicyServer"):
            process.kill()
        served.after_a_kill = answers_once_back(recipe, prompts)

    summary = align(recipe, root, QuietReporter(), while_served=client)
    return Aligned(recipe, folder, summary, served)
