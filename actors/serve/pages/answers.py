"""Records as JSON answers of a page, and a fault as the sentence a person reads."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.responses import Response

from actors.contract.records import Record
from actors.errors import SalusError
from actors.serve.pages.assets import FRESH

JSON = "application/json"


class Fault(Record):
    """What went wrong, for the person at the page."""

    error: str


def answer(record: BaseModel, status: int = 200) -> Response:
    """One record, never cached."""
    return Response(record.model_dump_json(), status, media_type=JSON, headers=FRESH)


def refusal(error: SalusError) -> Response:
    """A fault a person can mend, as its sentence."""
    return answer(Fault(error=error.sentence), 409)
