"""An engine in a process of its own, as an actor has one: it answers until it ends, and writes what it answered."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.config import EngineConfig
from actors.engine.port import Sampling

COUNT = 400
SAMPLING = Sampling(k=2, temperature=1.0, max_tokens=64)


class CoreApart(EngineConfig):
    """An engine whose core is a process of its own, as it is on GPUs, on a CPU too."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}


def answers(engine: Any, count: int = COUNT) -> list[list[str]]:
    """Seeded answers to as many prompts."""
    tokens = [chat_tokens(engine.tokenizer, f"What is dose number {number}?") for number in range(count)]
    return [[c.text for c in group] for group in engine.generate(tokens, SAMPLING, list(range(count)))]


def main(config: str, policy: str, out: str) -> None:
    """Say READY when warm; write the answers to `out`."""
    settings = CoreApart.model_validate_json(config)
    # Read when vLLM is imported.
    os.environ.update(settings.environment())
    from actors.engine.vllm import VllmEngine

    engine = VllmEngine(settings, PolicyRef(version="a", path=policy))
    answers(engine, 1)
    print("READY", flush=True)
    Path(out).write_text(json.dumps(answers(engine)), encoding="utf-8")
    engine.close()


# vLLM starts its core with this module too.
if __name__ == "__main__":
    main(*sys.argv[1:])
