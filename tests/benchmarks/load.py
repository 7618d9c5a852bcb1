"""Asks an OpenAI-compatible endpoint from a fixed number of clients, each of which asks again when it is answered.

    python tests/benchmarks/load.py http://127.0.0.1:8000/v1 --clients 8 --requests 400

Prints one JSON object; a program of its own, so that the measured server does not share its event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass

import aiohttp
import numpy as np

QUESTION = "My aunt needs a refill of her blood pressure tablets, number {number}. What should she ask?"


@dataclass(frozen=True)
class Load:
    """What a load came to; times in seconds."""

    clients: int
    requests: int
    failed: int
    wall_s: float
    requests_per_s: float
    p50_s: float
    p99_s: float


async def measure(base: str, clients: int, requests: int, tokens: int, key: str) -> Load:
    """`requests` chat completions of exactly `tokens` tokens, `clients` at a time, every fourth one streamed."""
    waiting = iter(range(requests))
    times: list[float] = []
    failed = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal failed
        for number in waiting:
            sent = time.perf_counter()
            if await _ask(session, f"{base}/chat/completions", number, tokens):
                times.append(time.perf_counter() - sent)
            else:
                failed += 1

    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        began = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        wall = time.perf_counter() - began
    p50, p99 = (float(np.quantile(times, q)) if times else float("nan") for q in (0.5, 0.99))
    return Load(clients, requests, failed, round(wall, 3), round(len(times) / wall, 2), round(p50, 4), round(p99, 4))


async def _ask(session: aiohttp.ClientSession, url: str, number: int, tokens: int) -> bool:
    body = {
        "model": "salus",
        "messages": [{"role": "user", "content": QUESTION.format(number=number)}],
        "temperature": 0,
        "max_tokens": tokens,
        "min_tokens": tokens,
        "stream": number % 4 == 0,
    }
    try:
        async with session.post(url, json=body) as response:
            answer = await response.read()
            return response.status == 200 and (not body["stream"] or answer.rstrip().endswith(b"[DONE]"))
    except aiohttp.ClientError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the address, with /v1")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--key", default="none")
    options = parser.parse_args()
    load = asyncio.run(measure(options.base, options.clients, options.requests, options.tokens, options.key))
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
