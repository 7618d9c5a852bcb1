"""Ids of answers that lead back to their model."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.router.answer_ids import AnswerIds
from actors.router.route import model_of_answer


def test_every_request_gets_an_id_of_its_own_that_names_the_model() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope.get("headers", ())))

    async def play() -> None:
        named = AnswerIds(app, "ward-2")
        for _ in range(2):
            headers = [(b"x-request-id", b"chosen"), (b"x-odd", b"1")]
            await named({"type": "http", "headers": headers}, None, None)  # type: ignore[arg-type]
        await named({"type": "lifespan"}, None, None)  # type: ignore[arg-type]

    asyncio.run(play())
    first, second, lifespan = seen
    assert first[b"x-odd"] == b"1" and first[b"x-request-id"] != second[b"x-request-id"] and not lifespan
    # As vLLM makes an answer's id of it.
    assert model_of_answer(f"chatcmpl-{first[b'x-request-id'].decode()}") == "ward-2"
