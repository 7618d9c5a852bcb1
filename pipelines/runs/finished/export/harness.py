"""Capability as the results and samples files of lm-evaluation-harness, written by its own tracker; the extra `eval`.

Multiple choice is the task `salus_choices`, and reference answers are the task `salus_references`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder
from pipelines.config.recipe import Recipe
from pipelines.decision.capability import figures_path, read_figures
from pipelines.measures.capability.figures import Capability, answered_right
from pipelines.measures.capability.harness_tasks import check_harness
from pipelines.measures.capability.items import item_shards
from pipelines.measures.capability.questions import HELD_OUT

Sample = dict[str, Any]


def write_harness(folder: RunFolder, recipe: Recipe, out: Path) -> list[str]:
    """`SPLIT/VERSION/results_TIME.json` and `samples_TASK_TIME.jsonl` for each policy that was measured.

    Returns the split and version of each.

    Raises:
        SalusError: the harness is not installed, or the run measured no capability.
    """
    check_harness()
    from lm_eval.loggers import EvaluationTracker

    found = [
        (split, place.parent.name)
        for split in HELD_OUT
        for place in sorted(folder.evaluations(split).glob("*/capability"))
        if figures_path(folder, split, place.parent.name).is_file()
    ]
    if recipe.capability is None or not found:
        raise SalusError(f"{folder.root} measured no capability; its recipe has no section capability.")
    for split, version in found:
        place = folder.evaluation_capability(split, version)
        figures = read_figures(folder, split, version)
        samples = dict(_samples(place, recipe.capability.normalised_by))
        tracker = EvaluationTracker(output_path=str(out / split))
        tracker.general_config_tracker.model_source = "salus"
        tracker.general_config_tracker.model_name = version
        tracker.general_config_tracker.model_name_sanitized = version
        tracker.save_results_aggregated(_results(figures, samples, recipe, version), samples)
        for task, rows in samples.items():
            tracker.save_results_samples(task, rows)
    return [f"{split}/{version}" for split, version in found]


def _results(figures: Capability, samples: dict[str, list[Sample]], recipe: Recipe, version: str) -> dict[str, Any]:
    results: dict[str, Any] = {}
    if figures.accuracy is not None:
        half = (figures.accuracy.high - figures.accuracy.low) / 2
        results["salus_choices"] = {"acc,none": figures.accuracy.value, "acc_stderr,none": half / 1.96}
    if figures.perplexity_per_token is not None:
        results["salus_references"] = {"token_perplexity,none": figures.perplexity_per_token.value}
    tasks = [task for task in samples if task in results]
    config = recipe.capability.model_dump(mode="json") if recipe.capability is not None else {}
    return {
        "results": {task: {"alias": task, **results[task]} for task in tasks},
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: {"task": task, "metadata": {"version": 1.0, **config}} for task in tasks},
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {
            task: {"acc": True} if task == "salus_choices" else {"token_perplexity": False} for task in tasks
        },
        "n-samples": {task: {"original": len(samples[task]), "effective": len(samples[task])} for task in tasks},
        "config": {"model": "salus", "model_args": version, "limit": None},
        "git_hash": None,
    }


def _samples(place: Path, normalised_by: Any) -> Iterator[tuple[str, list[Sample]]]:
    if item_shards(place, "choices"):
        table = read_folder(place / "choices")
        right = answered_right(table, normalised_by)
        yield "salus_choices", [_choice(i, rows, right[rows[0]["item_id"]]) for i, rows in enumerate(_items(table))]
    if item_shards(place, "references"):
        table = read_folder(place / "references")
        yield "salus_references", [_reference(i, rows[0]) for i, rows in enumerate(_items(table))]


def _items(table: pa.Table) -> Iterator[list[dict[str, Any]]]:
    """The rows of each question, in the order of their options."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.sort_by([("item_id", "ascending"), ("option", "ascending")]).to_pylist():
        found.setdefault(row["item_id"], []).append(row)
    yield from found.values()


def _choice(number: int, rows: list[dict[str, Any]], right: bool) -> Sample:
    target = next(i for i, row in enumerate(rows) if row["right"])
    doc = {"id": rows[0]["item_id"], "query": rows[0]["prompt"], "choices": [row["continuation"] for row in rows]}
    return _sample(number, doc, target, rows, {"acc": float(right)})


def _reference(number: int, row: dict[str, Any]) -> Sample:
    doc = {"id": row["item_id"], "query": row["prompt"], "answer": row["continuation"]}
    perplexity = math.exp(-row["log_likelihood"] / row["tokens"]) if row["tokens"] else math.nan
    return _sample(number, doc, row["continuation"], [row], {"token_perplexity": perplexity})


def _sample(
    number: int, doc: dict[str, Any], target: Any, rows: list[dict[str, Any]], metrics: dict[str, float]
) -> Sample:
    said = [(row["log_likelihood"], row["greedy"]) for row in rows]
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": [(row["prompt"], row["continuation"]) for row in rows],
        "resps": [[each] for each in said],
        "filtered_resps": said,
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": _hash(str(doc)),
        "prompt_hash": _hash(rows[0]["prompt"]),
        "target_hash": _hash(str(target)),
        **metrics,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
