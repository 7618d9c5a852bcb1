"""A judge behind an OpenAI-compatible server: the same templates, one token's log-probabilities, a pace and a bill."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import openai
from pydantic import ValidationError

from actors.contract.records import PolicyRef
from actors.contract.untrusted import CHAT_MARKUP, CUT_MARK, break_up, cut_middle, strip_invisible, visible
from actors.errors import SalusError
from actors.judges.judge import DetailedScorer, Verdicts
from actors.judges.remote.config import RemoteConfig
from actors.judges.remote.reply import (
    LABEL_SPELLINGS,
    Floats,
    ServerReply,
    Spellings,
    no_word,
    places,
    read_reply,
    spellings,
)
from actors.judges.template import JudgeTemplate, fence_of
from actors.judges.usage import Usage

# Codes of a server that will not read what it is to judge: that answer stays unlabelled.
_FILTERED = frozenset({"content_filter", "content_policy_violation"})
# What a server's own sentence speaks of, and the setting that mends it.
_CURES = (
    ("max_completion_tokens", "judge.remote.token_limit=max_completion_tokens"),
    ("temperature", "judge.remote.temperature=null"),
    ("logprobs", "judge.remote.reply=word"),
)
# Characters of a server's own sentence, and of a secret that is looked for in it.
_SENTENCE = 300
_SHORTEST_SECRET = 4


class RemoteScorer(DetailedScorer):
    """Asks the server about every answer of a batch, `concurrency` at a time.

    It replies with one of the words `spelled`: the labels, or whatever its template asks for instead.
    Nothing is opened or read from the environment before the first batch, so it can be sent to another process.
    """

    def __init__(self, config: RemoteConfig, template: str, spelled: Spellings = LABEL_SPELLINGS) -> None:
        self.name = config.judge_name
        self.usage = Usage()
        self._config = config
        self._spelled = spelled
        self._template = JudgeTemplate(template)
        self.prompt_version = self._template.version
        self._pace = RequestPace(config.requests_per_minute)

    def asking(self, prompt_version: str, words: Sequence[str]) -> RemoteScorer:
        """As `PromptedScorer.asking`, by the same server."""
        return RemoteScorer(self._config, prompt_version, spellings(words))

    def load(self, policy: PolicyRef) -> None:
        """The server's weights are its own."""

    def verdicts(self, requests: list[str], answers: list[str], cut_off: Sequence[bool]) -> Verdicts:
        """Scores and what they cost.

        Raises:
            SalusError: there is no key, it is refused, the server knows no such model, does not speak the protocol,
                or failed more often than `max_retries`.
        """
        prompts = [self.prompt(*row) for row in zip(requests, answers, cut_off, strict=True)]
        replies = asyncio.run(self._ask_all(prompts))
        spelled = self._spelled
        read = [read_reply(reply, spelled) if reply is not None else no_word(spelled) for reply in replies]
        usage = sum((self._cost(reply) for reply in replies if reply is not None), Usage())
        self.usage += usage
        p: Floats = np.array([row for row, _ in read]).reshape(len(read), places(spelled))
        return Verdicts(p=p, coverage=np.array([coverage for _, coverage in read]), usage=usage)

    def prompt(self, request: str, answer: str, cut_off: bool = False) -> str:
        """The text of one question; there is no tokenizer here, so all known chat formats' markup is broken up."""
        request, answer = (break_up(strip_invisible(text), CHAT_MARKUP) for text in (request, answer))
        answer = self._template.shown(answer)
        fence = fence_of(request, answer)
        most = self._config.max_characters
        request = break_up(cut_middle(request, max(most // 3, most - len(answer)), CUT_MARK), CHAT_MARKUP)
        answer = break_up(cut_middle(answer, most - len(request), CUT_MARK), CHAT_MARKUP)
        return self._template.fill(request, answer, cut_off, fence)

    async def _ask_all(self, prompts: Sequence[str]) -> list[ServerReply | None]:
        free = asyncio.Semaphore(self._config.concurrency)
        async with self._client() as client:

            async def one(prompt: str) -> ServerReply | None:
                async with free:
                    return await self._ask(client, prompt)

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(prompt)) for prompt in prompts]
            except ExceptionGroup as failed:
                # The others were cancelled: one sentence is enough.
                raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=self._config.key(),
            base_url=self._config.base_url,
            timeout=self._config.timeout_s,
            max_retries=self._config.max_retries,
            default_headers={
                header: self._config.secret(name, "header") for header, name in self._config.headers.items()
            },
            # In the transport, so that the client's retries keep the pace too.
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"request": [self._pace]}),
        )

    async def _ask(self, client: openai.AsyncOpenAI, prompt: str) -> ServerReply | None:
        """The server's reply; None where it would not read the prompt."""
        config = self._config
        by_logprobs = config.reply == "logprobs"
        try:
            response = await client.chat.completions.with_raw_response.create(
                model=config.model,
                messages=[{"role": "user", "content": prompt}],
                temperature=config.temperature if config.temperature is not None else openai.omit,
                logprobs=True if by_logprobs else openai.omit,
                top_logprobs=config.top_logprobs if by_logprobs else openai.omit,
                extra_body={config.token_limit: config.longest_reply, **config.extra_body},
            )
            return ServerReply.model_validate_json(response.content)
        except openai.APIError as error:
            if isinstance(error, openai.BadRequestError) and error.code in _FILTERED:
                return None
            raise SalusError(self._sentence(error)) from None
        except ValidationError:
            raise SalusError(
                f"{self._who()} did not reply with a chat completion; check judge.remote.base_url, which must be that"
                " of an OpenAI-compatible server and usually ends in /v1."
            ) from None

    def _sentence(self, error: openai.APIError) -> str:
        config, who = self._config, self._who()
        said = self._said(error)
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return (
                f"{who} refused the key (HTTP {error.status_code}{said}); put a valid one into the environment variable"
                f" {config.api_key_env}, or name another as judge.remote.api_key_env."
            )
        retried = f"{config.max_retries + 1} time(s)"
        if isinstance(error, openai.APITimeoutError):
            return f"{who} did not reply within {config.timeout_s:g} s, asked {retried}; raise judge.remote.timeout_s."
        if isinstance(error, openai.RateLimitError | openai.InternalServerError):
            return (
                f"{who} answered HTTP {error.status_code}{said}, asked {retried}; run the step again later (what is"
                " judged is kept), lower judge.remote.requests_per_minute or raise judge.remote.max_retries."
            )
        if isinstance(error, openai.APIStatusError):
            cures = [f"set {setting}" for word, setting in _CURES if word in said]
            cure = cures[0] if cures else "check judge.remote.model, judge.remote.extra_body and judge.remote.base_url"
            return f"{who} refused the request (HTTP {error.status_code}{said}); {cure}."
        return f"{who} cannot be reached, tried {retried}; check judge.remote.base_url and the network."

    def _said(self, error: openai.APIError) -> str:
        """The server's own sentence behind its status, on one line and without secrets; empty where it has none."""
        body = error.body
        found = body.get("message") or body.get("detail") if isinstance(body, dict) else None
        if not isinstance(found, str) or not found.strip():
            return f", code {str(error.code)[:60]!r}" if error.code else ""
        config = self._config
        for variable in (config.api_key_env, *config.headers.values()):
            secret = os.environ.get(variable, "").strip() if variable is not None else ""
            if len(secret) >= _SHORTEST_SECRET:
                found = found.replace(secret, f"[{variable}]")
        line = " ".join(visible(strip_invisible(found)).split()).rstrip(".")
        return f": {line if len(line) <= _SENTENCE else line[: _SENTENCE - 4] + ' ...'}"

    def _who(self) -> str:
        return f"The remote judge {self._config.model} at {self._config.base_url}"

    def _cost(self, reply: ServerReply) -> Usage:
        if reply.usage is None:
            return Usage(requests=1)
        prompt, completion = reply.usage.prompt_tokens, reply.usage.completion_tokens
        config = self._config
        cost = prompt * config.usd_per_million_prompt_tokens + completion * config.usd_per_million_completion_tokens
        return Usage(requests=1, prompt_tokens=prompt, completion_tokens=completion, cost_usd=cost / 1e6)


class RequestPace:
    """At most `per_minute` requests a minute, one every 60 / per_minute seconds; None: as fast as they come.

    It holds no lock and belongs to no event loop: a turn is taken in one step and then waited for.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next_s = float("-inf")

    def take(self) -> float:
        """Take the next turn; returns how many seconds away it is."""
        now = self._clock()
        turn = max(now, self._next_s)
        self._next_s = turn + self._gap_s
        return turn - now

    async def __call__(self, request: object) -> None:
        """Wait for a turn before `request` is sent."""
        await asyncio.sleep(self.take())
