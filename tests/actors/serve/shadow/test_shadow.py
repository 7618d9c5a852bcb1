"""The shadow itself: batches, what is kept and how, what is dropped, what a fault costs, what a restart finds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actors.contract.conversation import Turn, turns_of
from actors.contract.records import PolicyRef
from actors.engine.port import Engine
from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import DATABASE, read
from actors.serve.feedback.redaction import NotRedacted, Redaction
from actors.serve.shadow.config import ShadowConfig
from actors.serve.shadow.records import SHADOW, ShadowCounts, Taken
from actors.serve.shadow.shadow import Shadow
from tests.actors.serve.feedback.given import NOON, DirectRedaction
from tests.actors.serve.shadow.given import SpokenEngine, live
from tests.transformers_engine import TransformersEngine

Result = TypeVar("Result")
CONFIG = ShadowConfig(policy="c2-kto", batch=4, batch_wait_s=0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shadow"


def shadow(
    folder: Path,
    engine: Engine,
    config: ShadowConfig = CONFIG,
    feedback: FeedbackConfig | None = None,
    give_up: Callable[[], None] = lambda: None,
    days_later: int = 0,
    policy: PolicyRef | None = None,
    redaction: Redaction | None = None,
) -> Shadow:
    return Shadow(
        engine,
        policy or PolicyRef(version="c2-kto", path=str(folder)),
        folder,
        config,
        feedback or FeedbackConfig(),
        redaction or DirectRedaction(),
        give_up,
        lambda: NOON + timedelta(days=days_later),
        lock_wait_s=0.0,
    )


def run(of: Shadow, use: Callable[[Shadow], Coroutine[Any, Any, Result]]) -> Result:
    async def whole() -> Result:
        try:
            return await use(of)
        finally:
            await of.close()

    return asyncio.run(whole())


async def all_of(taken: list[Awaitable[Taken]]) -> list[Taken]:
    return list(await asyncio.gather(*taken))


def kept(folder: Path) -> list[dict[str, Any]]:
    return read(folder / SHADOW.name, SHADOW).to_pylist()


def test_both_answers_are_kept_beside_each_other_redacted_while_the_engine_reads_the_prompt_itself(
    folder: Path,
) -> None:
    engine = SpokenEngine("Ask Dr Lind on 2026-11-22.")
    turns = (Turn(role="system", content="Be brief."), Turn(role="user", content="My name is Anna. Insulin?"))
    given = live(turns=turns, answer="Dear Anna Lind, in the fridge.", temperature=0.25, max_tokens=8)
    assert run(shadow(folder, engine), lambda of: of.take(given)) == "stored"
    (row,) = kept(folder)
    assert (row["policy"], row["challenger"], row["at"]) == ("c1-dpo", "c2-kto", NOON)
    assert row["prompt"] == "My name is [NAME]. Insulin?"
    assert [turn.content for turn in turns_of(row["conversation"])] == ["Be brief.", "My name is [NAME]. Insulin?"]
    assert (row["answer"], row["finish_reason"]) == ("Dear [NAME], in the fridge.", "stop")
    assert (row["challenger_answer"], row["challenger_finish_reason"]) == ("Ask Dr [NAME] on [DATE].", "stop")
    assert (row["temperature"], row["top_p"], row["max_tokens"]) == (0.25, 1.0, 8)
    ((_, (asked,)),) = engine.runs
    assert "My name is Anna. Insulin?" in asked
    assert b"Anna" not in b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_the_challenger_answers_in_its_own_words(folder: Path, policies: dict[str, PolicyRef]) -> None:
    for name, policy in policies.items():
        one = shadow(folder, TransformersEngine(policy), policy=policy)
        assert run(one, lambda of: of.take(live(f"chatcmpl-{name}"))) == "stored"  # noqa: B023
    answers = {row["challenger"]: row["challenger_answer"] for row in kept(folder)}
    assert set(answers) == {"a", "b"} and answers["a"] != answers["b"] and all(answers.values())


def test_prompts_are_answered_in_batches_one_run_for_each_way_of_drawing(folder: Path) -> None:
    engine = SpokenEngine()
    given = [live(f"chatcmpl-{i}", temperature=float(i % 2)) for i in range(4)]
    taken = run(shadow(folder, engine), lambda of: all_of([of.take(each) for each in given]))
    assert taken == ["stored"] * 4
    assert [(sampling.temperature, len(asked)) for sampling, asked in engine.runs] == [(0.0, 2), (1.0, 2)]
    assert sorted(row["answer_id"] for row in kept(folder)) == [each.answer_id for each in given]


def test_what_cannot_be_asked_is_said_and_not_kept(folder: Path) -> None:
    given = [live("chatcmpl-1", prompt="insulin " * 300), live("chatcmpl-2")]
    taken = run(shadow(folder, SpokenEngine()), lambda of: all_of([of.take(each) for each in given]))
    assert taken == ["unfit", "stored"] and [row["answer_id"] for row in kept(folder)] == ["chatcmpl-2"]


def test_what_cannot_be_redacted_is_not_kept_and_costs_its_batch_nothing(folder: Path) -> None:
    class Choosy(DirectRedaction):
        async def redact(self, texts: Sequence[str]) -> tuple[str, ...]:
            if "slow" in texts:
                raise NotRedacted("A text was not redacted within 5 s, and is not kept.")
            return await super().redact(texts)

    async def two(of: Shadow) -> tuple[list[Taken], ShadowCounts]:
        return await all_of(
            [of.take(live("chatcmpl-1", prompt="slow")), of.take(live("chatcmpl-2"))]
        ), await of.counts()

    taken, counts = run(shadow(folder, SpokenEngine(), redaction=Choosy()), two)
    assert taken == ["not_redacted", "stored"] and counts == ShadowCounts(stored=1, not_redacted=1)
    assert [row["answer_id"] for row in kept(folder)] == ["chatcmpl-2"]
    # Nor is one that is longer than what is kept.
    long = shadow(folder, SpokenEngine("word " * 9), feedback=FeedbackConfig(max_text_chars=40))
    assert run(long, lambda of: of.take(live("chatcmpl-3"))) == "not_redacted"


def test_what_does_not_fit_the_queue_is_dropped_at_once_and_counted(folder: Path) -> None:
    engine = SpokenEngine()
    engine.go.clear()

    async def flood(of: Shadow) -> tuple[list[Taken], ShadowCounts]:
        first = asyncio.create_task(of.take(live("chatcmpl-first")))
        # Its batch is with the engine by then, and the queue is empty.
        await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(of.take(live(f"chatcmpl-{i}"))) for i in range(3)]
        await asyncio.sleep(0)
        late = await asyncio.wait_for(of.take(live("chatcmpl-late")), 1)
        counts = await of.counts()
        engine.go.set()
        return [late, *await asyncio.gather(first, *waiting)], counts

    config = CONFIG.model_copy(update={"queue": 3, "batch": 1})
    taken, counts = run(shadow(folder, engine, config), flood)
    assert taken == ["dropped", *["stored"] * 4]
    assert counts == ShadowCounts(dropped=1, waiting=3)
    assert "chatcmpl-late" not in {row["answer_id"] for row in kept(folder)}


def test_a_fault_of_the_engine_is_for_its_batch_alone_and_quotes_nobody(folder: Path) -> None:
    engine = SpokenEngine()
    engine.faults = [RuntimeError("patient 12345678")]

    async def two(of: Shadow) -> tuple[Taken, ShadowCounts]:
        with pytest.raises(SalusError, match=r"engine failed \(RuntimeError\)") as caught:
            await of.take(live("chatcmpl-1"))
        assert "12345678" not in caught.value.sentence
        return await of.take(live("chatcmpl-2")), await of.counts()

    given_up: list[None] = []
    taken, counts = run(shadow(folder, engine, give_up=lambda: given_up.append(None)), two)
    assert taken == "stored" and counts == ShadowCounts(stored=1, fault=1) and given_up == []
    assert [row["answer_id"] for row in kept(folder)] == ["chatcmpl-2"]


def test_an_engine_that_fails_time_and_again_is_given_up_but_not_for_a_full_disk(folder: Path) -> None:
    engine = SpokenEngine()
    given_up: list[None] = []

    async def fail(of: Shadow) -> None:
        for _ in range(3):
            with pytest.raises(SalusError):
                await of.take(live())

    engine.faults = [SalusError("The disk is full.")] * 3
    run(shadow(folder, engine, give_up=lambda: given_up.append(None)), fail)
    assert given_up == []
    engine.faults = [RuntimeError("gone")] * 3
    run(shadow(folder, engine, give_up=lambda: given_up.append(None)), fail)
    assert given_up == [None]


def test_a_folder_has_one_writer_and_an_answer_taken_twice_is_kept_once(folder: Path) -> None:
    async def first(of: Shadow) -> Taken:
        with pytest.raises(SalusError, match=r"Another process keeps a challenger's answers in .* shadow\.folder"):
            shadow(folder, SpokenEngine())
        return await of.take(live())

    assert run(shadow(folder, SpokenEngine("first")), first) == "stored"
    # As Ray hands it over again to a shadow in a dead one's place.
    assert run(shadow(folder, SpokenEngine("again")), lambda of: of.take(live())) == "stored"
    assert [row["challenger_answer"] for row in kept(folder)] == ["again"]


def test_records_expire_as_feedback_does(folder: Path) -> None:
    keep = FeedbackConfig(retention_days=30)

    async def some(of: Shadow) -> None:
        for i in range(6):
            await of.take(live(f"chatcmpl-{i}"))

    run(shadow(folder, SpokenEngine(), feedback=keep), some)
    assert len(kept(folder)) == 6
    late = live("chatcmpl-late", at=NOON + timedelta(days=31))
    run(shadow(folder, SpokenEngine(), feedback=keep, days_later=31), lambda of: of.take(late))
    assert [row["answer_id"] for row in kept(folder)] == ["chatcmpl-late"]
    assert b"chatcmpl-0" not in (folder / SHADOW.name / DATABASE).read_bytes()
