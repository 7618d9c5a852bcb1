"""Compiles what a request demands of its answer's form, before the engine does: in a process that can be ended.

vLLM reads a schema or grammar on its event loop and compiles it in the engine, without a time limit; one that reads
well and cannot be compiled, or that no text satisfies, is found there alone, as a failure of the server. Here the same
libraries do the same in a process of their own, with limits on time and memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections import OrderedDict

from actors.serve.gateway.constraints import Constraint
from actors.serve.gateway.refusal import Refused

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
            Refused: (400) it cannot be compiled, takes too long, or no text has it; (429) too many others are being
                checked; (503) the compilers do not start here.
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
