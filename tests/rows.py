"""Prompts, rollouts and judgments for tests, as the pipelines would make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from actors.contract.records import JUDGMENT_SCHEMA, LABELS, Label, Prompt, prompt_table


def prompt(number: int, level: int = 0, reference: str | None = None, text: str | None = None) -> Prompt:
    """One prompt of a harm level; its text is unique by number."""
    return Prompt.model_validate(
        {
            "prompt_id": f"p{number:04d}",
            "prompt": text or f"request number {number}",
            "level": level,
            "principle": number % 8,
            "method": ("direct", "indirect", "obfuscate", "role_play")[number % 4],
            "base_prompt": f"base {number}",
            "reference": reference,
            "source": "test",
        }
    )


def prompts(count: int, reference: str = "I can't help with that.") -> pa.Table:
    """Prompts that go round the four harm levels; the harmful ones have a reference answer."""
    return prompt_table([prompt(i, i % 4, reference if i % 4 else None) for i in range(count)])


def judgments(rows: Sequence[tuple[Prompt, str, Label | None]], sure: float = 0.9) -> pa.Table:
    """Judged answers; several rows of one prompt are its samples."""
    seen: dict[str, int] = {}
    made = []
    for of, answer, label in rows:
        sample = seen[of.prompt_id] = seen.get(of.prompt_id, -1) + 1
        rest = (1 - sure) / 2
        made.append(
            {
                **of.model_dump(),
                "rollout_id": f"{of.prompt_id}.{sample}",
                "sample": sample,
                "policy": "c0-base",
                "answer": answer,
                "finish_reason": "stop",
                "tokens": len(answer.split()),
                "judge": "judge",
                "judge_prompt": "none",
                "label": label,
                **{f"p_{name.lower()}": sure if name == label else rest for name in LABELS},
                "coverage": 1.0,
            }
        )
    return pa.Table.from_pylist(made, schema=JUDGMENT_SCHEMA)


def prompt_records(batches: Iterable[pa.RecordBatch]) -> Iterator[Prompt]:
    """The rows as `Prompt` records, one at a time."""
    for batch in batches:
        for row in batch.to_pylist():
            yield Prompt(**row)
