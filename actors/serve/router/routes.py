"""Which application answers for a model, and the names that lead there: path prefixes and ids of answers."""

from __future__ import annotations

import re

from actors.contract.records import Record

# Below an endpoint's own route, which settings cannot reach: no two endpoints share an application's path.
INTERNAL = "/_/"
_ANSWER_ID = re.compile(r"(?:chatcmpl-|cmpl-|resp_)(?P<model>.+)-[0-9a-f]{32}(?:-[0-9]+)?")


class Route(Record):
    """The application that answers for `model`: its path on the endpoint's port, and its number, from 1."""

    model: str
    prefix: str
    generation: int
    # It also has the pages of review and dashboard.
    pages: bool = False
    # The application's own name, where it answers for several models; None: that of its model.
    group: str | None = None


class KnownRoute(Record):
    """What the route table says of a model. `moving`: it is about to change, so hold its requests."""

    route: Route
    moving: bool = False


def application_prefix(route: str, model: str, generation: int) -> str:
    """The path of a model's application below the endpoint's route, as `/_/clinic-2`."""
    return f"{route.rstrip('/')}{INTERNAL}{model}-{generation}"


def model_of_answer(answer_id: str) -> str | None:
    """The model that gave an answer, by the answer's id; None where it is no id of a routed model (see `Gateway`)."""
    found = _ANSWER_ID.fullmatch(answer_id)
    return found["model"] if found is not None else None
