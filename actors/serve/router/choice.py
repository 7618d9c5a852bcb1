"""Which model a request is for, by its path and body; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic_core import from_json

from actors.serve.gateway.caller import PublicRoute
from actors.serve.router.route import model_of_answer

# "any": every application would say the same of it. "pages": the one that has them.
Kind = Literal["model", "any", "pages", "unnamed"]


@dataclass(frozen=True)
class ModelChoice:
    """`model` where the request names one; else by `kind`. "unnamed": it should have named one."""

    kind: Kind
    model: str | None = None


ANY = ModelChoice("any")


def choose(method: str, path: str, public: PublicRoute | None, body: bytes) -> ModelChoice:
    """Who answers; whether the request is in order is for that application's gateway to say."""
    if public is None or method not in public.methods:
        return ANY
    if public.page:
        return ModelChoice("pages")
    if public.template == "/v1/models/{model}":
        return ModelChoice("model", path.rpartition("/")[2])
    if public.generates:
        return _named(_field(body, "model"))
    if public.template == "/v1/feedback":
        answer = _field(body, "answer_id")
        model = model_of_answer(answer) if isinstance(answer, str) else None
        return ANY if model is None else ModelChoice("model", model)
    return ANY


class _NoObject:
    """What is no JSON object has no fields."""


def _named(model: object) -> ModelChoice:
    if isinstance(model, str) and model:
        return ModelChoice("model", model)
    # A body that cannot be read is any gateway's to refuse.
    return ANY if isinstance(model, _NoObject) else ModelChoice("unnamed")


def _field(body: bytes, name: str) -> object:
    """A field of a JSON object; read as gateways read it, so that both see the same."""
    try:
        asked = from_json(body, allow_inf_nan=False)
    except ValueError:
        return _NoObject()
    return asked.get(name) if isinstance(asked, dict) else _NoObject()
