"""The shadow: the challenger's engine, which answers what replicas hand over and keeps both answers.

Life: engine up -> lock -> expire -> take*, batch by batch -> close. It may die at any moment: what it called
stored is on disk. What it is handed is not redacted, and stays in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from actors.contract.conversation import conversation_json
from actors.contract.records import UNFINISHED_THOUGHT, PolicyRef
from actors.contract.seeds import derive_seed
from actors.engine.chat_format import thought_marks
from actors.engine.port import Completion, Engine, Sampling
from actors.engine.sampling_defaults import sampling_defaults
from actors.engine.thoughts import spoken
from actors.errors import SalusError
from actors.files.one_writer import only_writer
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import Journal, Retention
from actors.serve.feedback.records import Clock, utc_now
from actors.serve.feedback.redaction import NotRedacted, Redaction
from actors.serve.feedback.redaction_process import redacted_exchange
from actors.serve.shadow.config import ShadowConfig
from actors.serve.shadow.question import EngineQuestion, questions
from actors.serve.shadow.records import SHADOW, LiveAnswer, ShadowCounts, ShadowRecord, Taken

_log = logging.getLogger(__name__)
# An engine that fails so often in a row does not come back by itself.
_MOST_FAULTS = 3
# Tokens that hold the end of a prompt, where a template may begin a thought.
_PROMPT_END = 16
Waiting = tuple[LiveAnswer, "asyncio.Future[Taken]"]


class Shadow:
    """Answers and keeps; see `actors.serve.shadow.sampler.Challenger`. All calls come from one event loop."""

    def __init__(
        self,
        engine: Engine,
        challenger: PolicyRef,
        folder: Path,
        config: ShadowConfig,
        feedback: FeedbackConfig,
        redaction: Redaction,
        give_up: Callable[[], None] = lambda: None,
        clock: Clock = utc_now,
        lock_wait_s: float = 10.0,
    ) -> None:
        """`feedback`: what is kept, and how long; `give_up`: called when the engine fails time and again."""
        self._engine = engine
        self._challenger = challenger
        self._config = config
        self._redaction = redaction
        self._longest = feedback.max_text_chars
        self._give_up = give_up
        self._defaults = sampling_defaults(Path(challenger.path))
        # Open as long as the shadow lives: that is the lock.
        self._lock = only_writer(folder, lock_wait_s, "a challenger's answers", "shadow.folder")
        self._journal = Journal(folder / SHADOW.name, SHADOW)
        self._retention = Retention([self._journal], feedback, clock)
        self._retention.expire()
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(config.queue)
        self._working: asyncio.Task[None] | None = None
        # One thread, in which the engine lives.
        self._thread = ThreadPoolExecutor(1, "shadow")
        self._outcomes: Counter[str] = Counter()
        self._faults = 0

    async def take(self, live: LiveAnswer) -> Taken:
        """Answer what was answered live, and return when both answers are durable; dropped where too many wait.

        Raises:
            SalusError: it could not be answered or kept.
        """
        kept: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((live, kept))
        except asyncio.QueueFull:
            self._outcomes["dropped"] += 1
            return "dropped"
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await kept

    async def counts(self) -> ShadowCounts:
        return ShadowCounts(**self._outcomes, waiting=self._queue.qsize())

    async def close(self) -> None:
        """Answer what waits, and let another one have the folder."""
        if self._working is not None:
            await asyncio.wait({self._working})
        self._thread.shutdown()
        self._journal.close()
        self._lock.close()

    async def _work(self) -> None:
        while not self._queue.empty():
            batch = await self._gather()
            # Whatever went wrong is for those who wait.
            [result] = await asyncio.gather(self._take([live for live, _ in batch]), return_exceptions=True)
            self._tell(batch, result)

    async def _gather(self) -> list[Waiting]:
        batch: list[Waiting] = []
        try:
            async with asyncio.timeout(self._config.batch_wait_s):
                while len(batch) < self._config.batch:
                    batch.append(await self._queue.get())
        except TimeoutError:
            # What is there by now is the batch; with no time to wait, whatever waits already.
            while len(batch) < self._config.batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
        return batch

    def _tell(self, batch: Sequence[Waiting], result: list[Taken] | BaseException) -> None:
        if isinstance(result, BaseException):
            self._outcomes["fault"] += len(batch)
            fault = _fault(result)
            _log.error("%d challenger's answers are not kept: %s", len(batch), fault.sentence)
            for _, kept in batch:
                if not kept.done():
                    kept.set_exception(fault)
            # A full disk is nothing a new engine mends.
            self._faults += not isinstance(result, SalusError)
            if self._faults >= _MOST_FAULTS:
                self._give_up()
            return
        self._faults = 0
        for (_, kept), taken in zip(batch, result, strict=True):
            self._outcomes[taken] += 1
            # Some of them may have given up.
            if not kept.done():
                kept.set_result(taken)

    async def _take(self, lives: Sequence[LiveAnswer]) -> list[Taken]:
        loop = asyncio.get_running_loop()
        taken: dict[str, Taken] = {live.answer_id: "unfit" for live in lives}
        records: list[ShadowRecord] = []
        for live, sampling, answer in await loop.run_in_executor(self._thread, self._answer, lives):
            try:
                records.append(await self._record(live, sampling, answer))
                taken[live.answer_id] = "stored"
            except NotRedacted as error:
                _log.error("A challenger's answer is not kept: %s", error.sentence)
                taken[live.answer_id] = "not_redacted"
        await loop.run_in_executor(self._thread, self._keep, records)
        return [taken[live.answer_id] for live in lives]

    def _answer(self, lives: Sequence[LiveAnswer]) -> list[tuple[LiveAnswer, Sampling, Completion]]:
        asked = questions(lives, self._engine.tokenizer, self._defaults, self._engine.max_model_len)
        fit = [(live, question) for live, question in zip(lives, asked, strict=True) if question is not None]
        return list(self._generate(fit))

    def _keep(self, records: Sequence[ShadowRecord]) -> None:
        self._journal.append(records)
        self._expire_in_time()

    def _generate(
        self, fit: Sequence[tuple[LiveAnswer, EngineQuestion]]
    ) -> Iterator[tuple[LiveAnswer, Sampling, Completion]]:
        """One run of the engine for each way of drawing."""
        groups: defaultdict[Sampling, list[tuple[LiveAnswer, list[int]]]] = defaultdict(list)
        for live, question in fit:
            groups[question.sampling].append((live, question.tokens))
        for sampling, rows in groups.items():
            seeds = [derive_seed(self._config.seed, "answer", live.answer_id) for live, _ in rows]
            answers = self._engine.generate([tokens for _, tokens in rows], sampling, seeds)
            for (live, tokens), (answer,) in zip(rows, answers, strict=True):
                yield live, sampling, self._without_thought(tokens, answer)

    def _without_thought(self, prompt: Sequence[int], answer: Completion) -> Completion:
        """What a client would read of it."""
        begun = str(self._engine.tokenizer.decode(list(prompt[-_PROMPT_END:])))
        found = spoken(answer.text, begun, thought_marks(Path(self._challenger.path)))
        if found.thought is None:
            return answer
        reason = answer.finish_reason if found.finished else UNFINISHED_THOUGHT
        return answer.model_copy(update={"text": found.answer, "finish_reason": reason})

    async def _record(self, live: LiveAnswer, sampling: Sampling, answer: Completion) -> ShadowRecord:
        if len(answer.text) > self._longest:
            raise NotRedacted(f"A challenger's answer has more than {self._longest} characters, and is not kept.")
        turns, texts = await redacted_exchange(self._redaction, live.turns, live.answer, answer.text)
        return ShadowRecord(
            answer_id=live.answer_id,
            policy=live.policy,
            challenger=self._challenger.version,
            prompt=turns[-1].content,
            conversation=conversation_json(turns),
            answer=texts[0],
            finish_reason=live.finish_reason,
            challenger_answer=texts[1],
            challenger_finish_reason=answer.finish_reason,
            temperature=sampling.temperature,
            top_p=sampling.top_p or 1.0,
            max_tokens=sampling.max_tokens,
            at=live.at,
        )

    def _expire_in_time(self) -> None:
        if not self._retention.due:
            return
        try:
            self._retention.expire()
        except SalusError as error:
            _log.error("The records of shadow mode that are too old could not be removed: %s", error.sentence)


def _fault(error: BaseException) -> SalusError:
    """What went wrong, without the text of errors that may quote a prompt."""
    if isinstance(error, SalusError):
        return error
    return SalusError(f"The challenger's engine failed ({type(error).__name__}); see the log of its actor.")
