"""What a request says of its answer's form (schemas, grammars, regexes, choices, tools): its size, and if it compiles.

The engine compiles each of them, which costs far more than reading it. vLLM reads a schema or grammar on its event loop
and compiles it without a time limit. Only there does it find one that cannot be compiled, or that no text satisfies,
and that counts as a failure of the server. Here the same libraries do the same in a process of their own, with limits
on time and memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections import OrderedDict
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


def constraints_of(
    asked: Mapping[str, Any], config: GatewayConfig, form: str = "response_format"
) -> tuple[Constraint, ...]:
    """The forms that an answer must have; none where the request leaves the answer free.

    Args:
        asked: a request for a chat or a completion.
        config: the limits.
        form: what the sender calls `response_format`.

    Raises:
        Refused: (400) one is longer, deeper or wider than it may be. Tools that nothing forces are measured too: they
            are put into the prompt.
    """
    if (tools := asked.get("tools")) is not None:
        _measured(tools, "tools", config)
    found: list[Constraint] = []
    for each, value in _forms(asked, form):
        _measured(value, each.field, config)
        found.append(each)
    return tuple(found)


def _forms(asked: Mapping[str, Any], name: str) -> Iterator[tuple[Constraint, object]]:
    """Each form, and the value that it was made of."""
    form = asked.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_object":
        yield Constraint("json", _OBJECT, name), None
    elif isinstance(form, Mapping) and form.get("type") == "json_schema":
        schema = form["json_schema"].get("schema") if isinstance(form.get("json_schema"), Mapping) else None
        if schema is not None:
            yield Constraint("json", json.dumps(schema), name), schema
    outputs = asked.get("structured_outputs")
    if isinstance(outputs, Mapping):
        for kind in ("json", "regex", "choice", "grammar"):
            if (value := outputs.get(kind)) is not None:
                yield _form(kind, value, f"structured_outputs.{kind}")
        if outputs.get("json_object"):
            yield Constraint("json", _OBJECT, "structured_outputs.json_object"), None
    if asked.get("tool_choice") not in (None, "none", "auto"):
        tools = asked.get("tools")
        for tool in tools if isinstance(tools, list) else ():
            function = tool.get("function") if isinstance(tool, Mapping) else None
            parameters = function.get("parameters") if isinstance(function, Mapping) else None
            text = json.dumps(parameters) if parameters is not None else _OBJECT
            yield Constraint("json", text, "tools"), parameters


def _form(kind: ConstraintKind, value: object, field: str) -> tuple[Constraint, object]:
    """A form of vLLM's own. A schema, or choices, may also come as a text that is JSON."""
    if not isinstance(value, str):
        return Constraint(kind, json.dumps(value), field), value
    if kind not in ("json", "choice"):
        return Constraint(kind, value, field), value
    try:
        return Constraint(kind, value, field), json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"{field} is not JSON.", "invalid_constraint", field) from error


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


_log = logging.getLogger(__name__)
_WORKER = "actors.serve.gateway.constraint_worker"
# Importing the compilers takes seconds, on a busy machine many.
_START_S = 60.0
# How many others' compilings a request waits for at most, each as long as it may take.
_MOST_WAITING = 4
# Verdicts that are remembered: a program sends the same few schemas again and again.
_REMEMBERED = 512


class ConstraintCheck:
    """Asks one worker process, started with the first constraint. One event loop; life: check* -> close.

    A worker that takes too long, or dies, is ended, and the next constraint starts another.
    """

    def __init__(self, timeout_s: float, start_s: float = _START_S) -> None:
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._worker: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._verdicts: OrderedDict[Constraint, str | None] = OrderedDict()

    async def check(self, constraint: Constraint) -> None:
        """Return where the engine can be asked for an answer of this form.

        Raises:
            Refused: (400) it cannot be compiled, takes too long, or no text has it.
                (429) Too many others are being checked. (503) The compilers do not start here.
        """
        if constraint not in self._verdicts:
            if self._waiting >= _MOST_WAITING:
                retry = (b"retry-after", b"1")
                sentence = "Too many schemas and grammars are being compiled; ask again."
                raise Refused(429, sentence, "rate_limit_exceeded", constraint.field, headers=[retry])
            self._waiting += 1
            try:
                async with self._turn:
                    await self._learn(constraint)
            finally:
                self._waiting -= 1
        self._verdicts.move_to_end(constraint)
        if (fault := self._verdicts[constraint]) is not None:
            raise Refused(400, f"{constraint.field} cannot be used: {fault}.", "invalid_constraint", constraint.field)

    async def close(self) -> None:
        """End the worker; harmless where there is none."""
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()

    async def _learn(self, constraint: Constraint) -> None:
        # Others may have asked for the same meanwhile.
        if constraint in self._verdicts:
            return
        fault = await self._asked(await self._running(), constraint)
        self._verdicts[constraint] = fault
        while len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._worker is not None and self._worker.returncode is None:
            return self._worker
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _WORKER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Ray puts a job's folder into the path of its workers alone.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        )
        try:
            ready = await asyncio.wait_for(_line(self._worker), self._start_s)
        except TimeoutError:
            ready = b""
        except BaseException:
            await self.close()
            raise
        if not ready:
            await self.close()
            _log.error("The process that checks schemas and grammars did not start; is xgrammar installed?")
            raise Refused(503, "Schemas and grammars cannot be checked here now.", "constraints_unavailable")
        return self._worker

    async def _asked(self, worker: asyncio.subprocess.Process, constraint: Constraint) -> str | None:
        """What is wrong with a constraint; None where nothing is."""
        assert worker.stdin is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                worker.stdin.write(json.dumps([constraint.kind, constraint.text]).encode() + b"\n")
                await worker.stdin.drain()
                said = await _line(worker)
        except TimeoutError:
            await self.close()
            return f"it takes longer than {self._timeout_s:g} s to compile"
        except (BrokenPipeError, ConnectionResetError):
            said = b""
        except BaseException:
            # The client has left: what the worker is at would be taken for the answer to the next question.
            await self.close()
            raise
        if not said:
            await self.close()
            return "it takes too much memory to compile"
        fault: str | None = json.loads(said)
        return fault


async def _line(worker: asyncio.subprocess.Process) -> bytes:
    assert worker.stdout is not None
    return await worker.stdout.readline()
