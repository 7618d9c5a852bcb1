"""POST /v1/feedback: a caller's word on an answer of the endpoint, acknowledged only when it is durable."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from actors.contract.conversation import Turn, conversation_json
from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.records import UNKNOWN_POLICY, CapturedAnswer, Clock, Feedback, Verdict, feedback_id, utc_now
from actors.serve.feedback.redaction import NotRedacted, Redaction
from actors.serve.feedback.redaction_process import RedactionBusy
from actors.serve.feedback.sink import AnotherCallers, FeedbackSink, KnownAnswer, OverQuota
from actors.serve.gateway.caller import caller_name

PATH = "/v1/feedback"
_LOOK_AGAIN_S = 0.05
_log = logging.getLogger(__name__)
FaultType = Literal["invalid_request_error", "rate_limit_error", "server_error"]


class FeedbackBody(BaseModel):
    """What a caller posts: an answer's id, and a verdict or the answer as it should have been."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    answer_id: str = Field(min_length=1, max_length=200, description="the `id` of the chat completion")
    verdict: Verdict | None = Field(None, description="may be left out beside a correction")
    correction: str | None = Field(None, min_length=1, description="the answer as it should have been")
    comment: str | None = None
    prompt: str | None = Field(
        None, min_length=1, description="with answer: the exchange itself, where the endpoint kept none"
    )
    answer: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _says_one_thing(self) -> FeedbackBody:
        if self.verdict is None and self.correction is None:
            raise ValueError("give a verdict, or a correction")
        if (self.correction is not None) != (self.said == "corrected"):
            raise ValueError("give a verdict of up or down, or a correction")
        if (self.prompt is None) != (self.answer is None):
            raise ValueError("give prompt and answer both, or neither")
        return self

    @property
    def said(self) -> Verdict:
        return self.verdict or "corrected"


class _Refused(Exception):
    """An answer of the route in OpenAI's error shape."""

    def __init__(
        self, status: int, message: str, param: str | None = None, kind: FaultType = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        error = {"message": message, "type": kind, "param": param, "code": None}
        self.response = JSONResponse({"error": error}, status)


def feedback_router(
    sink: FeedbackSink, redaction: Redaction, config: FeedbackConfig, clock: Clock = utc_now
) -> APIRouter:
    """The route of feedback; a gateway in front of it finds its caller (`salus_caller`)."""
    router = APIRouter()
    reception = _Reception(sink, redaction, config, clock)
    body = {"required": True, "content": {"application/json": {"schema": FeedbackBody.model_json_schema()}}}

    @router.post(PATH, openapi_extra={"requestBody": body})
    async def give_feedback(request: Request) -> JSONResponse:
        """Say of an answer that it was good, bad, or how it should have been; the last word of a caller counts."""
        try:
            return JSONResponse(await reception.receive(request))
        except _Refused as refused:
            return refused.response
        except OverQuota as over:
            return _Refused(429, over.sentence, kind="rate_limit_error").response
        except SalusError as error:
            _log.error("Feedback was not kept: %s", error.sentence)
            return _Refused(503, "The feedback was not kept; send it again later.", kind="server_error").response

    return router


class _Reception:
    """Reads, checks, redacts and hands over one request's feedback."""

    def __init__(self, sink: FeedbackSink, redaction: Redaction, config: FeedbackConfig, clock: Clock) -> None:
        self._sink = sink
        self._redaction = redaction
        self._config = config
        self._clock = clock

    async def receive(self, request: Request) -> dict[str, Any]:
        body = await self._body(request)
        caller = caller_name(request.scope)
        known = await self._known(body)
        if known is None and body.prompt is not None:
            known = KnownAnswer(caller=caller, policy=UNKNOWN_POLICY)
            try:
                await self._sink.captured(await self._supplied(body, caller))
            except AnotherCallers:
                known = None
        # No caller learns which answers others were given.
        if known is None or known.caller != caller:
            raise _Refused(404, f"No answer {body.answer_id!r} of yours is known here.", "answer_id")
        correction, comment = await self._redacted(body, "correction", "comment")
        item = Feedback(
            feedback_id=feedback_id(body.answer_id, caller),
            answer_id=body.answer_id,
            policy=known.policy,
            caller=caller,
            verdict=body.said,
            correction=correction,
            comment=comment,
            at=self._clock(),
        )
        await self._sink.feedback(item)
        return {"object": "feedback", "feedback_id": item.feedback_id, "answer_id": item.answer_id}

    async def _body(self, request: Request) -> FeedbackBody:
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > self._config.max_request_bytes:
                raise _Refused(413, f"The request has more than {self._config.max_request_bytes} bytes.")
        try:
            body = FeedbackBody.model_validate_json(bytes(raw))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise _Refused(400, first["msg"], ".".join(map(str, first["loc"])) or None) from error
        for name, most in self._bounds().items():
            if len(getattr(body, name) or "") > most:
                raise _Refused(400, f"{name} has more than {most} characters.", name)
        return body

    def _bounds(self) -> dict[str, int]:
        texts = dict.fromkeys(("prompt", "answer", "correction"), self._config.max_text_chars)
        return texts | {"comment": self._config.max_comment_chars}

    async def _known(self, body: FeedbackBody) -> KnownAnswer | None:
        """What is known of the answer, which may still be on its way: its client had it before the sink."""
        loop = asyncio.get_running_loop()
        captures = self._config.capture != "never" and body.prompt is None
        until = loop.time() + (self._config.capture_wait_s if captures else 0.0)
        while (known := await self._sink.known(body.answer_id)) is None and loop.time() < until:
            await asyncio.sleep(_LOOK_AGAIN_S)
        return known

    async def _supplied(self, body: FeedbackBody, caller: str) -> CapturedAnswer:
        prompt, answer = (text or "" for text in await self._redacted(body, "prompt", "answer"))
        return CapturedAnswer(
            answer_id=body.answer_id,
            policy=UNKNOWN_POLICY,
            caller=caller,
            prompt=prompt,
            conversation=conversation_json([Turn(role="user", content=prompt)]),
            answer=answer,
            finish_reason="unknown",
            at=self._clock(),
            origin="supplied",
        )

    async def _redacted(self, body: FeedbackBody, *fields: str) -> list[str | None]:
        """Fields of a request as they may be kept; None where there is none."""
        texts: list[str | None] = [getattr(body, field) for field in fields]
        given = [text for text in texts if text is not None]
        if not given:
            return texts
        try:
            redacted = iter(await self._redaction.redact(given))
        except NotRedacted as error:
            _log.error("Feedback was not kept: %s", error.sentence)
            named = " and ".join(field for field, text in zip(fields, texts, strict=True) if text is not None)
            raise _Refused(
                400, f"{named} could not be redacted in time, so nothing was kept; send less text."
            ) from error
        except RedactionBusy as error:
            raise _Refused(429, "Too much feedback waits to be redacted; send it again later.") from error
        return [next(redacted) if text is not None else None for text in texts]
