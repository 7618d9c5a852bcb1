"""Asks the endpoint what a client would, and holds its answers against the published policy's own."""

from __future__ import annotations

import os

import openai
import ray

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.files.shards import read_folder, strings
from pipelines.alignment.run import Run
from pipelines.config.recipe import Recipe

ASKED = 8
# The variable that holds a key of the endpoint, where it wants one.
KEY = "SALUS_API_KEY"


def served_answers(run: Run) -> str:
    """How many of a few test prompts the endpoint answers exactly as the published policy did in evaluation.

    Returns one sentence for the run's summary.
    """
    if not run.recipe.publish.gateway.open and KEY not in os.environ:
        return f"The endpoint wants a key, so it was not asked; set {KEY} to have its answers compared."
    published: PolicyRef | None = ray.get(run.coordinator.published_policy.remote())
    if published is None:
        raise SalusError("Nothing is published, though the recipe has an endpoint; see publications.jsonl.")
    folder = run.folder.evaluation_rollouts("test", published.version)
    if not folder.is_dir():
        return f"The endpoint serves {published.version}, which is neither the base model nor the last champion."
    rows = read_folder(folder, ("prompt", "answer")).slice(0, ASKED)
    asked = list(zip(strings(rows, "prompt"), strings(rows, "answer"), strict=True))
    limit = run.recipe.generate.greedy().max_tokens
    same = sum(ask(run.recipe, prompt, limit) == answer for prompt, answer in asked)
    return (
        f"The endpoint answered {same} of {len(asked)} test prompts exactly as {published.version} did in evaluation."
    )


def ask(recipe: Recipe, prompt: str, max_tokens: int) -> str:
    """One greedy chat completion from a recipe's endpoint."""
    publish = recipe.publish
    key = os.environ.get(KEY, "none")
    with openai.OpenAI(base_url=f"{publish.url}/v1", api_key=key, timeout=60) as client:
        answer = client.chat.completions.create(
            model=publish.model_id,
            messages=[{"role": "user", "content": prompt}],
            temperature=0.0,
            max_tokens=max_tokens,
        )
    return (answer.choices[0].message.content or "").strip()
