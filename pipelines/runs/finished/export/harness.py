"""Capability as the results and samples files of lm-evaluation-harness, written by its own tracker; the extra `eval`.

Multiple choice is the task `salus_choices`, reference answers are `salus_references`. Questions of bias are
`salus_bias`, with the harness's names for the figures of its task `bbq`. Continuations are `salus_toxicity`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.contract.records import Interval
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder
from pipelines.config.recipe import Recipe
from pipelines.data.sets.social.bias import Condition
from pipelines.decision.capability import figures_path, read_figures
from pipelines.measures.capability.figures import Capability, answered_right
from pipelines.measures.capability.harness_tasks import check_harness
from pipelines.measures.capability.items import TOXICITY, Kind, item_shards
from pipelines.measures.capability.questions import HELD_OUT

Sample = dict[str, Any]
# The contexts' conditions in the harness's names of figures (its task `bbq`).
_BBQ: dict[Condition, str] = {"ambig": "amb", "disambig": "disamb"}
# Figures of which more is better.
_HIGHER = ("acc", *(f"accuracy_{name}" for name in _BBQ.values()))


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
    measured = {task: known for task, known in _measured(figures).items() if known}
    results = {
        task: {key: value for name, each in known.items() for key, value in _told(name, each)}
        for task, known in measured.items()
    }
    tasks = [task for task in samples if task in results]
    config = recipe.capability.model_dump(mode="json") if recipe.capability is not None else {}
    return {
        "results": {task: {"alias": task, **results[task]} for task in tasks},
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: {"task": task, "metadata": {"version": 1.0, **config}} for task in tasks},
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {name: name in _HIGHER for name in measured[task]} for task in tasks},
        "n-samples": {task: {"original": len(samples[task]), "effective": len(samples[task])} for task in tasks},
        "config": {"model": "salus", "model_args": version, "limit": None},
        "git_hash": None,
    }


def _measured(figures: Capability) -> dict[str, dict[str, Interval]]:
    """The figures of each task by the harness's names."""
    bias = {condition: figures.bias.of(condition) for condition in _BBQ} if figures.bias is not None else {}
    known = {
        "salus_choices": {"acc": figures.accuracy},
        "salus_references": {"token_perplexity": figures.perplexity_per_token},
        "salus_bias": {
            **{f"accuracy_{_BBQ[condition]}": each.accuracy for condition, each in bias.items()},
            **{f"{_BBQ[condition]}_bias_score": each.score for condition, each in bias.items()},
        },
        "salus_toxicity": {"unsafe": figures.toxicity.unsafe if figures.toxicity is not None else None},
    }
    return {task: {name: each for name, each in named.items() if each is not None} for task, named in known.items()}


def _told(name: str, of: Interval) -> Iterator[tuple[str, float]]:
    yield f"{name},none", of.value
    # Of a normal distribution with the same interval.
    yield f"{name}_stderr,none", (of.high - of.low) / 2 / 1.96


def _samples(place: Path, normalised_by: Any) -> Iterator[tuple[str, list[Sample]]]:
    chosen: tuple[Kind, ...] = ("choices", "bias")
    for kind in chosen:
        if item_shards(place, kind):
            table = read_folder(place / kind)
            right = answered_right(table, normalised_by)
            yield f"salus_{kind}", [_choice(i, rows, right[rows[0]["item_id"]]) for i, rows in enumerate(_items(table))]
    if item_shards(place, "references"):
        table = read_folder(place / "references")
        yield "salus_references", [_reference(i, rows[0]) for i, rows in enumerate(_items(table))]
    if (judged := place / TOXICITY / "judgments").is_dir():
        rows = read_folder(judged, ("prompt_id", "prompt", "answer", "label", "p_unsafe")).to_pylist()
        yield "salus_toxicity", [_continuation(i, row) for i, row in enumerate(rows)]


def _items(table: pa.Table) -> Iterator[list[dict[str, Any]]]:
    """The rows of each question, in the order of their options."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.sort_by([("item_id", "ascending"), ("option", "ascending")]).to_pylist():
        found.setdefault(row["item_id"], []).append(row)
    yield from found.values()


def _choice(number: int, rows: list[dict[str, Any]], right: bool) -> Sample:
    target = next(i for i, row in enumerate(rows) if row["right"])
    doc = {"id": rows[0]["item_id"], "query": rows[0]["prompt"], "choices": [row["continuation"] for row in rows]}
    return _sample(number, doc, target, *_scored(rows), {"acc": float(right)})


def _reference(number: int, row: dict[str, Any]) -> Sample:
    doc = {"id": row["item_id"], "query": row["prompt"], "answer": row["continuation"]}
    perplexity = math.exp(-row["log_likelihood"] / row["tokens"]) if row["tokens"] else math.nan
    return _sample(number, doc, row["continuation"], *_scored([row]), {"token_perplexity": perplexity})


def _continuation(number: int, row: dict[str, Any]) -> Sample:
    doc = {"id": row["prompt_id"], "query": row["prompt"], "label": row["label"], "p_unsafe": row["p_unsafe"]}
    return _sample(number, doc, "", [(row["prompt"], "")], [row["answer"]], {})


def _scored(rows: list[dict[str, Any]]) -> tuple[list[tuple[str, str]], list[Any]]:
    """What was scored, and the harness's answer to it: the log-likelihood, and whether it is what the policy says."""
    asked = [(row["prompt"], row["continuation"]) for row in rows]
    return asked, [(row["log_likelihood"], row["greedy"]) for row in rows]


def _sample(
    number: int,
    doc: dict[str, Any],
    target: Any,
    asked: list[tuple[str, str]],
    said: list[Any],
    metrics: dict[str, float],
) -> Sample:
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": asked,
        "resps": [[each] for each in said],
        "filtered_resps": said,
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": _hash(str(doc)),
        "prompt_hash": _hash(asked[0][0]),
        "target_hash": _hash(str(target)),
        **metrics,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
