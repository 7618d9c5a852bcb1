"""A real tiny engine behind the port, through transformers: what tests use where vLLM's start-up is too dear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.contract.records import PolicyRef
from actors.engine.port import Completion, Continuation, Sampling, check_continuations


class TransformersEngine:
    """`actors.engine.port.Engine` on one CPU thread, one prompt at a time."""

    def __init__(self, policy: PolicyRef, max_model_len: int = 256) -> None:
        self.max_model_len = max_model_len
        self.loads: list[str] = []
        self.load(policy)

    def load(self, policy: PolicyRef) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(policy.path)
        self._model: Any = AutoModelForCausalLM.from_pretrained(policy.path, dtype=torch.float32).eval()
        self.loads.append(policy.version)

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, seeds: Sequence[int]
    ) -> list[list[Completion]]:
        return [
            [self._one(prompt, sampling, seed * 1000 + sample) for sample in range(sampling.k)]
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]

    def _one(self, prompt: Sequence[int], sampling: Sampling, seed: int) -> Completion:
        torch.manual_seed(seed)
        draw: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            draw = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_k": 0,
                "top_p": sampling.top_p or 1.0,
            }
        ids = torch.tensor([list(prompt)])
        output = self._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=sampling.max_tokens, **draw
        )[0, len(prompt) :].tolist()
        ended = output[-1] == self.tokenizer.eos_token_id
        return Completion(
            text=self.tokenizer.decode(output, skip_special_tokens=True),
            tokens=len(output),
            finish_reason="stop" if ended else "length",
        )

    @torch.no_grad()
    def score_next(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        rows = [
            self._model(torch.tensor([list(prompt)])).logits[0, -1].log_softmax(-1)[list(token_ids)].numpy()
            for prompt in prompts
        ]
        return np.array(rows, dtype=np.float64).reshape(len(prompts), len(token_ids))

    @torch.no_grad()
    def log_likelihoods(
        self, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]
    ) -> list[Continuation]:
        check_continuations(prompts, continuations, self.max_model_len)
        return [self._score(p, c) for p, c in zip(prompts, continuations, strict=True)]

    def _score(self, prompt: Sequence[int], continuation: Sequence[int]) -> Continuation:
        logits = self._model(torch.tensor([[*prompt, *continuation]])).logits[0]
        # The logits at a position are of the token after it.
        steps = logits[len(prompt) - 1 : -1].log_softmax(-1)
        tokens = torch.tensor(list(continuation))
        return Continuation(
            log_likelihood=float(steps.gather(1, tokens[:, None]).double().sum()),
            tokens=len(tokens),
            greedy=bool((steps.argmax(-1) == tokens).all()),
        )
