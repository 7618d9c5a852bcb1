"""Salus's engine behind the model interface of EleutherAI's lm-evaluation-harness.

Needs the extra `eval`; import it through `harness_tasks`, which says so where it is missing. White space, missing
contexts and contexts that are too long are treated as by the harness's own models, so that figures compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from actors.contract.seeds import derive_seed
from actors.engine.likelihood import ItemTokens, cut_tokens
from actors.engine.port import Continuation, Engine, Sampling
from actors.errors import SalusError

# The engine's answers carry an object for each prompt token: more at once would be gigabytes.
BATCH = 512
# What the harness's own models generate where a task does not say.
DEFAULT_MAX_GEN_TOKS = 256


class GenerationAsked(BaseModel):
    """A task's `generation_kwargs`, as far as the engine can do them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: str | tuple[str, ...] | None = None
    max_gen_toks: int = Field(DEFAULT_MAX_GEN_TOKS, ge=1)
    do_sample: bool | None = None
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> GenerationAsked:
        """Raises `SalusError` for a setting the engine has not."""
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise SalusError(
                f"generation_kwargs {'.'.join(map(str, first['loc']))!r} of a harness task cannot be done here"
                f" ({first['msg']}); it may set {', '.join(cls.model_fields)}."
            ) from error

    def sampling(self, max_model_len: int) -> Sampling:
        """Greedy unless the task samples; an answer takes at most half of the engine's length."""
        temperature = 0.0 if self.do_sample is False else self.temperature
        longest = min(self.max_gen_toks, max(1, max_model_len // 2))
        # Not the model's own defaults: the harness's models have none, and figures must compare.
        neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        return Sampling(k=1, temperature=temperature, top_p=self.top_p, max_tokens=longest, **neutral)

    def stopped(self, text: str) -> str:
        """The text up to the first of the strings that end it."""
        stops = (self.until,) if isinstance(self.until, str) else self.until or ()
        ends = [text.find(stop) for stop in stops if stop and stop in text]
        return text[: min(ends)] if ends else text


class SalusLM(LM):
    """The harness's `LM` over an engine that is up; `simple_evaluate(model=SalusLM(engine, name), ...)`."""

    def __init__(self, engine: Engine, name: str, seed: int = 0) -> None:
        super().__init__()
        self._engine = engine
        self._name = name
        self._seed = seed
        # The harness notes its special tokens in the results.
        self.tokenizer = engine.tokenizer

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(nats, whether greedy decoding would write it) of each request's (context, continuation)."""
        scored = self._scored([self._pair(*request.args) for request in requests])
        return [(found.log_likelihood, found.greedy) for found in scored]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Nats of each whole text, each token given all before it that fits."""
        windows = [list(self._windows(request.args[0])) for request in requests]
        scored = iter(self._scored([pair for text in windows for pair in text]))
        return [sum(next(scored).log_likelihood for _ in text) for text in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """An answer to each (context, generation_kwargs), cut at the task's stop strings."""
        asked = [GenerationAsked.of(request.args[1]) for request in requests]
        groups: dict[Sampling, list[int]] = {}
        for row, of in enumerate(asked):
            groups.setdefault(of.sampling(self._engine.max_model_len), []).append(row)
        texts: dict[int, str] = {}
        for sampling, rows in groups.items():
            room = self._engine.max_model_len - sampling.max_tokens
            prompts = [self._encode(requests[row].args[0])[-room:] or [self._prefix] for row in rows]
            seeds = [derive_seed(self._seed, "harness", row) for row in rows]
            answers = self._engine.generate(prompts, sampling, seeds)
            texts |= {row: asked[row].stopped(answer[0].text) for row, answer in zip(rows, answers, strict=True)}
        return [texts[row] for row in range(len(requests))]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages under the model's own template; without a generation prompt the last one goes on."""
        rendered: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return rendered

    @property
    def tokenizer_name(self) -> str:
        """Part of the name of the harness's cached requests."""
        return self._name.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template's text, which the harness notes in its results."""
        return str(self.tokenizer.chat_template or "")

    @property
    def _prefix(self) -> int:
        """What a text without context begins with."""
        begins = self.tokenizer.bos_token_id
        return int(begins if begins is not None else self.tokenizer.eos_token_id)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _pair(self, context: str, continuation: str) -> ItemTokens:
        """White space at the context's end goes with the continuation; what is too long loses its beginning."""
        kept = context.rstrip()
        continuation = context[len(kept) :] + continuation
        prompt, rest = cut_tokens(self._encode(kept), self._encode(kept + continuation))
        room = self._engine.max_model_len - 1 - len(rest)
        return ItemTokens((prompt or [self._prefix])[-max(room, 1) :], rest)

    def _windows(self, text: str) -> Iterator[ItemTokens]:
        # A window has one token more than its longest context, and the engine decodes another.
        windows = get_rolling_token_windows(
            token_list=self._encode(text),
            prefix_token=self._prefix,
            max_seq_len=self._engine.max_model_len - 2,
            context_len=1,
        )
        for window in windows:
            prompt, continuation = make_disjoint_window(window)
            yield ItemTokens(list(prompt), list(continuation))

    def _scored(self, pairs: Sequence[ItemTokens]) -> list[Continuation]:
        batches = (pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH))
        return [
            found
            for batch in batches
            for found in self._engine.log_likelihoods([p.prompt for p in batch], [p.continuation for p in batch])
        ]
