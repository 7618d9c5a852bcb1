"""Asks the endpoint what a client would, and holds its answers against the published policy's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

import openai
import ray

from actors.contract.conversation import Turn, whole_conversation
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
    # Shards of earlier versions have no context.
    rows = read_folder(folder).slice(0, ASKED)
    contexts = strings(rows, "context") if "context" in rows.column_names else [""] * rows.num_rows
    asked = [whole_conversation(*row) for row in zip(contexts, strings(rows, "prompt"), strict=True)]
    limit = run.recipe.generate.greedy().max_tokens
    answers = strings(rows, "answer")
    same = sum(ask(run.recipe, turns, limit) == answer for turns, answer in zip(asked, answers, strict=True))
    return (
        f"The endpoint answered {same} of {len(asked)} test prompts exactly as {published.version} did in evaluation."
    )


def ask(recipe: Recipe, turns: Sequence[Turn], max_tokens: int) -> str:
    """One greedy answer of a recipe's endpoint to a conversation."""
    publish = recipe.publish
    key = os.environ.get(KEY, "none")
    with openai.OpenAI(base_url=f"{publish.url}/v1", api_key=key, timeout=60) as client:
        answer = client.chat.completions.create(
            model=publish.model_id,
            messages=cast(Any, [turn.model_dump() for turn in turns]),
            temperature=0.0,
            max_tokens=max_tokens,
        )
    return (answer.choices[0].message.content or "").strip()
