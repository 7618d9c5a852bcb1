"""The run's endpoint: started when it is due, asked what a client would, and held against the published policy."""

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
from pipelines.cluster.turns.cost import endpoint_gpus
from pipelines.cluster.turns.stages import served_last
from pipelines.config.recipe import Recipe

ASKED = 8
# The variable that holds a key of the endpoint, where it wants one.
KEY = "SALUS_API_KEY"


class RunEndpoint:
    """When the endpoint of a run is started.

    On CPUs it comes up with the run, while others work. On GPUs it is asked for when the first cycle's challengers are
    trained, so that no GPU waits for a first decision. By turns its GPUs are others' until the last cycle is decided:
    it then starts with what the decisions let go live.

    Life: `RunEndpoint(...)` -> [`begin`] -> (`evaluating` -> `up`)* -> `up`
    """

    def __init__(self, recipe: Recipe, coordinator: Any) -> None:
        self._enabled = recipe.publish.enabled
        self._on_gpus = endpoint_gpus(recipe) > 0
        self._coordinator = coordinator
        self._started: ray.ObjectRef[Any] | None = None
        self.last = served_last(recipe)

    def begin(self) -> None:
        """The run starts."""
        if not self._on_gpus:
            self._start()

    def evaluating(self) -> None:
        """A cycle's challengers are trained, and will be decided on next."""
        if not self.last:
            self._start()

    def up(self) -> bool:
        """Return when it answers; False where the run has none.

        Raises:
            SalusError: it cannot start.
        """
        self._start()
        if self._started is not None:
            ray.get(self._started)
        return self._enabled

    def check(self) -> None:
        """Raise SalusError where it could not start: in the stage in which that happens, not at the first decision."""
        if self._started is not None and ray.wait([self._started], timeout=0)[0]:
            ray.get(self._started)

    def _start(self) -> None:
        if self._enabled and self._started is None:
            self._started = self._coordinator.start_publisher.remote()


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
