"""The model card of an exported adapter: how to load it and what it is on, then the card of its policy.

Names paths of no machine. Its head is what the hub reads: base model, license, data sets and figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.contract.records import Record
from pipelines.registry.card import fill
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.figures import NAMES, short

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TEMPLATE = "adapter_card.md.jinja"
# What the hub reads of a license; all three are plain words or an address.
_LICENSE_FIELDS = ("license", "license_name", "license_link")


class NamedBase(Record):
    """The deployed model by the name that transformers, PEFT and vLLM load it by."""

    # A hub id, or an absolute folder.
    name: str
    # The commit on the hub; None for a folder, or where it is not known.
    revision: str | None


def adapter_card(entry: PolicyEntry, base: NamedBase, policy_card: str) -> str:
    """The text of an exported adapter's `README.md`; text of others is escaped.

    Args:
        policy_card: the policy's own card, whose sections follow.
    """
    # Late: nothing but a card needs it, and it takes long.
    from huggingface_hub import ModelCard, ModelCardData

    license_: dict[str, Any] = _license(entry.base.folder)
    own = [(ancestor.run_version, ancestor.adapter) for ancestor in reversed(entry.ancestors)]
    own.append((entry.origin.run_version, entry.adapter))
    head = ModelCardData(
        base_model=entry.base.hub_id,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["salus", "medical", "preference-alignment", "lora"],
        datasets=list(entry.data.datasets) or None if entry.data is not None else None,
        model_name=entry.version,
        eval_results=_results(entry) or None,
        **license_,
    )
    text = fill(
        TEMPLATE,
        entry=entry,
        base=entry.base,
        revision=base.revision,
        adapters=[(version, adapter.contents.sha256) for version, adapter in own if adapter is not None],
    )
    return f"---\n{head.to_yaml()}\n---\n\n{text}\n{ModelCard(policy_card).text.lstrip()}"


def _results(entry: PolicyEntry) -> list[EvalResult]:
    """The main figures of the validation split, as they were recorded."""
    from huggingface_hub import EvalResult

    figures = {field: found for field in NAMES if (found := short(entry, field)) is not None}
    datasets = entry.data.datasets if entry.data is not None else ()
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=next(iter(datasets), "private"),
            dataset_name=f"validation split of run {entry.run_name}",
            metric_type=field,
            metric_name=NAMES[field],
            metric_value=figure.value,
        )
        for field, figure in figures.items()
    ]


def _license(folder: str | None) -> dict[str, Any]:
    """The license in the deployed model's own card; empty where there is none to read."""
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
