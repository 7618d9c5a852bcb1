"""What a charged judge used: tokens and their price, written beside each shard it judged, and summed over folders."""

from __future__ import annotations

from pathlib import Path

from actors.contract.records import Record
from actors.files.records import read_record
from actors.files.shards import write_text

_SUFFIX = ".usage.json"


class Usage(Record):
    """Requests that were answered, their tokens as the server counted them, and the cost in US dollars."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )


def write_usage(usage: Usage, shard: Path) -> None:
    """Write what judging one shard used, beside the shard."""
    write_text(usage.model_dump_json(indent=2), shard.with_name(shard.name + _SUFFIX))


def usage_of(folder: Path) -> Usage:
    """What all shards under `folder`, at any depth, used together.

    Raises:
        SalusError: a usage file cannot be read.
    """
    total = Usage()
    for file in sorted(folder.rglob(f"*{_SUFFIX}")):
        total += read_record(Usage, file, "a usage record", "remove it")
    return total
