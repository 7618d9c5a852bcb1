"""The front matter of a model card: what the hub reads of licence, base model, data sets and figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from actors.contract.records import Interval, Record
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.figures import NAMES, short
from pipelines.runs.summary import Measured, TestFigures

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# Who loads the weights.
Library = Literal["transformers", "peft"]
# What the hub reads of a license; all three are plain words or an address.
_LICENSE_FIELDS = ("license", "license_name", "license_link")
_RELATIONS: dict[Library, str] = {"transformers": "finetune", "peft": "adapter"}
# Of every interval of a card.
_LEVEL = 0.95


class Stated(Record):
    """What a person says of a policy that the registry cannot know."""

    # A hub id; None: the registry's.
    base_model: str | None = None
    # As the hub writes licences, such as `apache-2.0`; None: that of the deployed model's card.
    license: str | None = None


def front_matter(entry: PolicyEntry, library: Library, stated: Stated | None = None) -> str:
    """The YAML of a card, without its dashes. `model-index` holds every main figure with its interval and n.

    Args:
        stated: what takes the place of the registry's knowledge.
    """
    # Late: nothing but a card needs it, and it takes long.
    from huggingface_hub import ModelCardData

    stated = stated or Stated()
    base = stated.base_model or entry.base.hub_id
    algorithm = entry.origin.algorithm
    tags = ["salus", "medical", "preference-alignment", *([algorithm] if algorithm is not None else [])]
    more: dict[str, Any] = {"license": stated.license} if stated.license else license_of(entry.base.folder)
    if base is not None:
        more["base_model_relation"] = _RELATIONS[library]
    data = ModelCardData(
        base_model=base,
        library_name=library,
        pipeline_tag="text-generation",
        tags=[*tags, *(["lora"] if entry.adapter is not None or library == "peft" else [])],
        datasets=list(entry.data.datasets) or None if entry.data is not None else None,
        model_name=entry.version,
        eval_results=list(_results(entry)) or None,
        **more,
    )
    return str(data.to_yaml())


def with_front_matter(card: str, head: str) -> str:
    """A card with another front matter, or with one where it has none."""
    from huggingface_hub import ModelCard

    return f"---\n{head}\n---\n\n{ModelCard(card, ignore_metadata_errors=True).text.lstrip()}"


def license_of(folder: str | None) -> dict[str, Any]:
    """The license in the card of a model's folder; empty where there is none to read."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    card = Path(folder or "", "README.md")
    if folder is None or not card.is_file():
        return {}
    try:
        head = metadata_load(card) or {}
    except (OSError, ValueError, YAMLError):
        return {}
    return {field: head[field] for field in _LICENSE_FIELDS if isinstance(head.get(field), str)}


def _results(entry: PolicyEntry) -> Iterator[EvalResult]:
    """The main figures as they were recorded: of the decision's split, the published one, the test and the probes."""
    run, found = entry.run_name, entry.validation
    for field in NAMES:
        if (figure := short(entry, field)) is not None:
            yield _result(entry, "validation", f"validation split of run {run}", field, figure, figure.n)
    if found is not None and (published := found.published) is not None:
        own = published.truth or published.figures
        yield from _figures(entry, "published", f"published split of run {run}", own)
    if (tested := entry.tested) is not None:
        yield from _figures(entry, "test", f"test split of run {run}", tested.figures)
        for name, share in tested.probes.items():
            yield _result(entry, "probe", f"probe of run {run}", name, share, None)


def _figures(entry: PolicyEntry, split: str, name: str, found: TestFigures) -> Iterator[EvalResult]:
    for field in NAMES:
        figure: Measured | None = getattr(found, field)
        if figure is not None:
            yield _result(entry, split, name, field, figure, found.n)


def _result(
    entry: PolicyEntry, split: str, dataset: str, field: str, figure: Interval | Measured, n: int | None
) -> EvalResult:
    from huggingface_hub import EvalResult

    datasets = entry.data.datasets if entry.data is not None else ()
    args: dict[str, float] = {"level": _LEVEL, "low": figure.low, "high": figure.high}
    return EvalResult(
        task_type="text-generation",
        dataset_type=next(iter(datasets), "private"),
        dataset_name=dataset,
        dataset_split=split,
        metric_type=field,
        metric_name=NAMES.get(field, field.replace("_", " ")),
        metric_value=figure.value,
        metric_args={"interval": args | ({"n": n} if n is not None else {})},
    )
