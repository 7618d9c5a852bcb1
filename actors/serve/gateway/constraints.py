"""What a request says of its answer's form: schemas, grammars, regexes, choices and tools, and how large they may be.

The engine compiles each of them, which costs far more than reading it, and a long one holds up everybody's answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.refusal import Refused

ConstraintKind = Literal["json", "regex", "choice", "grammar"]
_OBJECT = '{"type": "object"}'


@dataclass(frozen=True)
class Constraint:
    """One form that the engine is to compile; `text` is JSON for a schema and for choices. `field`: where it is."""

    kind: ConstraintKind
    text: str
    field: str


def constraints_of(asked: Mapping[str, Any], config: GatewayConfig) -> tuple[Constraint, ...]:
    """The forms that an answer must have; none where the request leaves the answer free.

    Raises:
        Refused: (400) one is longer, deeper or wider than it may be. Tools that nothing forces are measured too: they
            are put into the prompt.
    """
    if (tools := asked.get("tools")) is not None:
        _measured(tools, "tools", config)
    found = tuple(_forms(asked))
    for each in found:
        _measured(_parsed(each), each.field, config)
    return found


def _forms(asked: Mapping[str, Any]) -> Iterator[Constraint]:
    form = asked.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_object":
        yield Constraint("json", _OBJECT, "response_format")
    elif isinstance(form, Mapping) and form.get("type") == "json_schema":
        schema = form["json_schema"].get("schema") if isinstance(form.get("json_schema"), Mapping) else None
        if schema is not None:
            yield Constraint("json", json.dumps(schema), "response_format")
    outputs = asked.get("structured_outputs")
    if isinstance(outputs, Mapping):
        for kind in ("json", "regex", "choice", "grammar"):
            if (value := outputs.get(kind)) is not None:
                text = value if isinstance(value, str) else json.dumps(value)
                yield Constraint(kind, text, f"structured_outputs.{kind}")
        if outputs.get("json_object"):
            yield Constraint("json", _OBJECT, "structured_outputs.json_object")
    if asked.get("tool_choice") not in (None, "none", "auto"):
        tools = asked.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            function = tool.get("function") if isinstance(tool, Mapping) else None
            parameters = function.get("parameters") if isinstance(function, Mapping) else None
            yield Constraint("json", json.dumps(parameters) if parameters is not None else _OBJECT, "tools")


def _parsed(constraint: Constraint) -> object:
    """What is measured: the JSON of a schema or of choices, any other text as it is."""
    if constraint.kind not in ("json", "choice"):
        return constraint.text
    try:
        return json.loads(constraint.text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"{constraint.field} is not JSON.", "invalid_constraint", constraint.field) from error


def _measured(value: object, field: str, config: GatewayConfig) -> None:
    size = len((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode())
    if size > config.max_constraint_bytes:
        raise _too_much(field, f"{size} bytes", f"{config.max_constraint_bytes}")
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        inner, depth = waiting.pop()
        if depth > config.max_constraint_depth and isinstance(inner, (dict, list)):
            raise _too_much(field, f"more than {config.max_constraint_depth} levels", f"{config.max_constraint_depth}")
        if isinstance(inner, list) and len(inner) > config.max_choices:
            raise _too_much(field, f"a list of {len(inner)}", f"{config.max_choices}")
        parts = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
        waiting += [(part, depth + 1) for part in parts]


def _too_much(field: str, found: str, most: str) -> Refused:
    return Refused(400, f"{field} has {found}; at most {most} are taken.", "limit_exceeded", field)
