"""Forms that a request demands of its answer: how large they may be, and that the engine can compile them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.constraint_worker import Compiler
from actors.serve.gateway.constraints import Constraint, ConstraintCheck, ConstraintKind, constraints_of
from actors.serve.gateway.refusal import Refused

SMALL = GatewayConfig(max_constraint_bytes=200, max_constraint_depth=4, max_choices=3)
OBJECT = {"type": "object"}


def schema_format(schema: object) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}


def tool(**parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "a", "parameters": parameters}}


FOUND: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"response_format": {"type": "text"}}, []),
    ({"response_format": None, "structured_outputs": None, "tools": None, "tool_choice": None}, []),
    ({"response_format": {"type": "json_object"}}, ["response_format"]),
    (schema_format(OBJECT), ["response_format"]),
    ({"structured_outputs": {"regex": "a"}}, ["structured_outputs.regex"]),
    ({"structured_outputs": {"choice": ["a", "b"]}}, ["structured_outputs.choice"]),
    ({"structured_outputs": {"json": json.dumps(OBJECT)}}, ["structured_outputs.json"]),
    ({"tools": [tool()], "tool_choice": "auto"}, []),
    ({"tools": [tool()]}, []),
    ({"tools": [tool(), tool()], "tool_choice": "required"}, ["tools", "tools"]),
    ({"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "a"}}}, ["tools"]),
    ({"tools": [1], "tool_choice": "required"}, ["tools"]),
]


@pytest.mark.parametrize(("asked", "fields"), FOUND)
def test_what_an_answers_form_is_bound_by(asked: dict[str, Any], fields: list[str]) -> None:
    assert [each.field for each in constraints_of(asked, SMALL)] == fields


TOO_LARGE: list[dict[str, Any]] = [
    schema_format({"description": "x" * 300}),
    schema_format({"a": {"b": {"c": {"d": {}}}}}),
    schema_format({"enum": [1, 2, 3, 4]}),
    {"structured_outputs": {"regex": "a" * 300}},
    {"structured_outputs": {"grammar": "é" * 150}},
    {"structured_outputs": {"choice": ["a", "b", "c", "d"]}},
    {"structured_outputs": {"json": json.dumps({"enum": [1, 2, 3, 4]})}},
    # Nothing forces these; they are put into the prompt all the same.
    {"tools": [tool(description="x" * 300)]},
]


@pytest.mark.parametrize("asked", TOO_LARGE)
def test_a_form_has_limits(asked: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        constraints_of(asked, SMALL)
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")


def test_a_schema_given_as_text_is_json() -> None:
    for text in ("{", "[" * 100_000):
        with pytest.raises(Refused, match="not JSON"):
            constraints_of({"structured_outputs": {"json": text}}, GatewayConfig(max_constraint_bytes=10**6))


VERDICTS: list[tuple[ConstraintKind, str, str | None]] = [
    ("grammar", 'root ::= "a" | "b" root', None),
    ("regex", "[a-z]{1,9}", None),
    ("choice", json.dumps(["yes", 'no "\n', "é"]), None),
    ("json", json.dumps(OBJECT), None),
    # xgrammar has no word for it, llguidance has; vLLM asks both.
    ("json", '{"type": "integer", "multipleOf": 3}', None),
    ("grammar", "root ::= root", "no text can have this form"),
    ("json", '{"$ref": "#"}', "no text can have this form"),
    ("grammar", "a ::= b", "root"),
    ("regex", "((((", "parenthesis"),
    ("json", '{"type": "foo"}', "foo"),
    ("json", '{"enum": []}', "Unsatisfiable"),
]


def test_what_no_text_satisfies_or_no_library_compiles_is_found_before_the_engine_is_asked() -> None:
    compiler = Compiler()
    for kind, text, fault in VERDICTS:
        said = compiler.fault(kind, text)
        assert said is None if fault is None else said is not None and fault in said, (kind, text, said)


def run(check: ConstraintCheck, does: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        try:
            await does
        finally:
            await check.close()

    asyncio.run(whole())


# Within the default limits on size, and seconds of compiling.
SLOW = json.dumps(
    {"type": "object", "properties": {f"p{n}": {"type": "string", "pattern": "^[a-z]{1,99}@"} for n in range(550)}}
)


def test_a_worker_that_takes_too_long_is_ended_and_another_comes() -> None:
    # Compiling takes some seconds, on a quick machine one.
    check = ConstraintCheck(timeout_s=0.3)
    good = Constraint("grammar", 'root ::= "a"', "structured_outputs.grammar")
    slow = Constraint("json", SLOW, "response_format")

    async def play() -> None:
        with pytest.raises(Refused, match=r"longer than 0.3 s") as refused:
            await check.check(slow)
        assert refused.value.status == 400
        await check.check(good)
        worker = check._worker
        assert worker is not None
        os.kill(worker.pid, 9)
        await worker.wait()
        # Both are remembered: neither is compiled again.
        began = time.monotonic()
        await check.check(good)
        with pytest.raises(Refused):
            await check.check(slow)
        assert time.monotonic() - began < 0.1

    assert len(SLOW) < GatewayConfig().max_constraint_bytes
    run(check, play())


def test_no_more_wait_for_the_worker_than_it_can_serve_soon() -> None:
    check = ConstraintCheck(timeout_s=5)

    async def play() -> None:
        each = [Constraint("grammar", f'root ::= "{n}"', "structured_outputs.grammar") for n in range(12)]
        said = await asyncio.gather(*(check.check(one) for one in each), return_exceptions=True)
        refused = [error for error in said if isinstance(error, Refused)]
        assert said.count(None) == 4 and {error.status for error in refused} == {429}

    run(check, play())


def test_where_the_compilers_do_not_start_no_form_is_taken() -> None:
    check = ConstraintCheck(timeout_s=1, start_s=0.01)

    async def play() -> None:
        with pytest.raises(Refused) as refused:
            await check.check(Constraint("regex", "a", "structured_outputs.regex"))
        assert refused.value.status == 503

    run(check, play())
