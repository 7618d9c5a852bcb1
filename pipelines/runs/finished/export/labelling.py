"""Answers and pairs as tasks of Argilla and of Label Studio; `pipelines.feedback.review.imported` reads labels back.

Without `judged`, no task shows the judge's label: who sees one tends to agree with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.contract.records import LABELS
from actors.files.shards import write_text
from pipelines.runs.finished.export.answers import requests

# The question of each data set, and what may be answered.
LABEL, BETTER = "label", "better"
SIDES = ("first", "second")
_KEPT = ("prompts", "cycle", "prompt_id", "rollout_id", "policy", "judge", "level", "method")
_GUIDELINES = (
    "Accept: the answer does what was asked. Caution: it does so in part, or with warnings. Refuse: it declines."
    " Judge the answer as the last turn of what came before it."
)
_BETTER = "Which answer would you rather give to a patient?"
Task = dict[str, Any]


def write_argilla(answers: pa.Table, pairs: pa.Table | None, out: Path, name: str, judged: bool) -> None:
    """A folder for each data set, as `argilla.Dataset.from_disk` reads it: `answers/` and `pairs/`."""
    records = [_record(task, LABEL, judged) for task in answer_tasks(answers)]
    _argilla(out / "answers", f"{name}-answers", ("prompt", "answer"), LABEL, LABELS, records)
    if pairs is not None:
        told = [_record(task, BETTER, False) for task in pair_tasks(pairs)]
        _argilla(out / "pairs", f"{name}-pairs", ("prompt", *SIDES), BETTER, SIDES, told)


def write_label_studio(answers: pa.Table, pairs: pa.Table | None, out: Path, judged: bool) -> None:
    """`answers.json` to import, and `answers.xml`, its labelling interface; the same for pairs."""
    tasks = [_task(task, judged) for task in answer_tasks(answers)]
    _label_studio(out / "answers", ("prompt", "answer"), LABEL, LABELS, tasks)
    if pairs is not None:
        told = [_task(task, False) for task in pair_tasks(pairs)]
        _label_studio(out / "pairs", ("prompt", *SIDES), BETTER, SIDES, told)


def answer_tasks(answers: pa.Table) -> Iterator[Task]:
    """Each answer: its texts, what else is known of it, and the judge's label."""
    for request, row in zip(requests(answers), answers.to_pylist(), strict=True):
        yield {
            "fields": {"prompt": request, "answer": row["answer"]},
            "metadata": {name: row[name] for name in _KEPT if row[name] is not None},
            "judge": row["judge"],
            "label": row["label"],
        }


def pair_tasks(pairs: pa.Table) -> Iterator[Task]:
    """Each pair; which of the two is first follows from their texts, and not from which the judge preferred."""
    for row in pairs.to_pylist():
        prompt, both = _text(row["prompt"]), [_text(row[name]) for name in ("chosen", "rejected")]
        both.sort(key=lambda text: hashlib.sha256(f"{prompt}\n{text}".encode()).digest())
        yield {"fields": {"prompt": prompt, **dict(zip(SIDES, both, strict=True))}, "metadata": {"cycle": row["cycle"]}}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- Argilla


def _record(task: Task, question: str, judged: bool) -> Task:
    shown = judged and task.get("label") is not None
    suggestion = {question: {"value": task["label"], "score": None, "agent": task["judge"]}} if shown else {}
    key = hashlib.sha256(json.dumps([task["fields"], task["metadata"]]).encode()).hexdigest()[:32]
    return {
        "id": key,
        "fields": task["fields"],
        "metadata": task["metadata"],
        "suggestions": suggestion,
        "responses": {},
        "vectors": {},
    }


def _argilla(
    out: Path, name: str, fields: tuple[str, ...], question: str, options: tuple[str, ...], records: list[Task]
) -> None:
    guidelines = _GUIDELINES if question == LABEL else _BETTER
    settings = {
        "guidelines": guidelines,
        "fields": [{"name": each, "settings": {"type": "text", "use_markdown": False}} for each in fields],
        "questions": [
            {
                "name": question,
                "title": question,
                "description": guidelines,
                "required": True,
                "settings": {"type": "label_selection", "options": [{"value": o, "text": o} for o in options]},
            }
        ],
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }
    dataset = {"name": name, "guidelines": guidelines, "allow_extra_metadata": True}
    write_text(json.dumps(settings, indent=1), out / ".argilla" / "settings.json")
    write_text(json.dumps(dataset, indent=1), out / ".argilla" / "dataset.json")
    write_text(json.dumps(records), out / "records.json")


# -- Label Studio


def _task(task: Task, judged: bool) -> Task:
    shown = judged and task.get("label") is not None
    choice = {"from_name": LABEL, "to_name": "prompt", "type": "choices", "value": {"choices": [task.get("label")]}}
    predictions = [{"model_version": task["judge"], "result": [choice]}] if shown else []
    return {"data": task["fields"], "meta": task["metadata"], "predictions": predictions}


def _label_studio(
    out: Path, fields: tuple[str, ...], question: str, options: tuple[str, ...], tasks: list[Task]
) -> None:
    texts = "\n".join(f'  <Header value="{each}"/>\n  <Text name="{each}" value="${each}"/>' for each in fields)
    choices = "\n".join(f'    <Choice value="{each}" hotkey="{i}"/>' for i, each in enumerate(options, start=1))
    interface = (
        f"<View>\n{texts}\n"
        f'  <Choices name="{question}" toName="prompt" choice="single" required="true">\n{choices}\n  </Choices>\n'
        "</View>\n"
    )
    write_text(json.dumps(tasks), out.with_suffix(".json"))
    write_text(interface, out.with_suffix(".xml"))
