"""Generator: prompts in, rollouts out; and given texts in, their log-likelihoods out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from actors.contract.conversation import whole_conversation
from actors.contract.records import PROMPT_SCHEMA, ROLLOUT_SCHEMA, UNFINISHED_THOUGHT, PolicyRef
from actors.contract.seeds import derive_seed
from actors.contract.span import Span, instant
from actors.engine.chat import chat_tokens, conversation_text, text_tokens
from actors.engine.chat_format import thought_marks
from actors.engine.likelihood import LikelihoodTask, read_items, score_items
from actors.engine.port import Completion, Engine, Sampling
from actors.engine.thoughts import spoken
from actors.errors import SalusError
from actors.files.shards import read_shard, strings, with_columns, write_table


class RolloutTask(BaseModel):
    """One shard of prompts to answer: with which policy, where its files are, how to sample, where the rollouts go.

    Each task names its policy, so that a restarted actor can never answer with an old one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PolicyRef
    # The champion that a challenger was trained on; None for a policy that has whole weights.
    base: PolicyRef | None = None
    prompts: str
    output: str
    sampling: Sampling
    seed: int


WholeWeights = Callable[[PolicyRef, PolicyRef | None], PolicyRef]


class Generator:
    """Samples a policy's answers with one warm engine, whose weights are swapped as the tasks ask.

    Life: `Generator(engine)` -> (`generate(task)` | `log_likelihoods(task)`)*
    """

    def __init__(self, engine: Engine, whole: WholeWeights = lambda policy, base: policy) -> None:
        """`whole` finds a policy in a folder with its weights; it is given the champion too (`actors.merged`)."""
        self._engine = engine
        self._whole = whole

    def ready(self) -> None:
        """Answers once the engine is up and warm: the first answer compiles kernels."""
        self._engine.generate([chat_tokens(self._engine.tokenizer, "")], Sampling(k=1, max_tokens=1), [0])

    def generate(self, task: RolloutTask) -> tuple[pa.Table, Span]:
        """Answer one shard; a shard whose rollouts are already on disk is read, not sampled again.

        Returns the rollouts (`ROLLOUT_SCHEMA`, k rows per prompt, in prompt order) and when it was done.
        """
        output = Path(task.output)
        if output.is_file():
            return read_shard(output, ROLLOUT_SCHEMA), instant(output)
        prompts = read_shard(Path(task.prompts), PROMPT_SCHEMA)
        rendered = self._rendered(prompts)
        tokens = self._tokenise(rendered, prompts, task)
        seeds = [derive_seed(task.seed, i) for i in strings(prompts, "prompt_id")]
        policy = self._whole(task.policy, task.base)
        start = time.time()
        self._engine.load(policy)
        answers = self._engine.generate(tokens, task.sampling, seeds)
        end = time.time()
        table = _rollouts(prompts, rendered, answers, policy)
        write_table(table, output)
        sampled = sum(answer.tokens for group in answers for answer in group)
        return table, Span(start_s=start, end_s=end, rows=table.num_rows, tokens=sampled)

    def log_likelihoods(self, task: LikelihoodTask) -> Span:
        """Score one shard of given texts; a shard whose scores are already on disk is left as it is.

        The scores (`SCORE_SCHEMA`) go to `task.output`; returns when it was done.
        """
        output = Path(task.output)
        if output.is_file():
            return instant(output)
        items, tokens = read_items(Path(task.items), self._engine.tokenizer, task.chat, self._engine.max_model_len)
        policy = self._whole(task.policy, task.base)
        start = time.time()
        self._engine.load(policy)
        table = score_items(self._engine, items, tokens, task.policy.version)
        end = time.time()
        write_table(table, output)
        return Span(start_s=start, end_s=end, rows=table.num_rows)

    def _rendered(self, prompts: pa.Table) -> list[str]:
        rows = zip(strings(prompts, "context"), strings(prompts, "prompt"), strict=True)
        return [conversation_text(self._engine.tokenizer, whole_conversation(*row)) for row in rows]

    def _tokenise(self, rendered: list[str], prompts: pa.Table, task: RolloutTask) -> list[list[int]]:
        room = self._engine.max_model_len - task.sampling.max_tokens
        tokens = [text_tokens(self._engine.tokenizer, text) for text in rendered]
        for row, ids in enumerate(tokens):
            if len(ids) > room:
                raise SalusError(
                    f"Prompt {prompts['prompt_id'][row].as_py()} of {task.prompts} has {len(ids)} tokens but only"
                    f" {room} fit beside an answer of {task.sampling.max_tokens}; raise engine.max_model_len or"
                    " lower generate.max_tokens."
                )
        return tokens


def _rollouts(prompts: pa.Table, rendered: list[str], answers: list[list[Completion]], policy: PolicyRef) -> pa.Table:
    version = policy.version
    rows = prompts.take([row for row, group in enumerate(answers) for _ in group])
    samples = [sample for group in answers for sample in range(len(group))]
    flat = [answer for group in answers for answer in group]
    marks = thought_marks(Path(policy.path))
    said = [
        spoken(answer.text, prompt, marks) for prompt, group in zip(rendered, answers, strict=True) for answer in group
    ]
    ids = rows["prompt_id"].to_pylist()
    columns: dict[str, list[Any]] = {
        "rollout_id": [f"{p}.{s}@{version}" for p, s in zip(ids, samples, strict=True)],
        "sample": samples,
        "policy": [version] * len(flat),
        "answer": [each.answer for each in said],
        "finish_reason": [
            a.finish_reason if each.finished else UNFINISHED_THOUGHT for a, each in zip(flat, said, strict=True)
        ],
        "tokens": [a.tokens for a in flat],
        "thought": [each.thought for each in said],
    }
    return with_columns(rows, columns, ROLLOUT_SCHEMA)
