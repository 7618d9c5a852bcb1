"""The model card of an exported adapter: how to load it and what it is on, then the card of its policy.

Names paths of no machine. Its head is what the hub reads: base model, license, data sets and figures.
"""

from __future__ import annotations

from actors.contract.records import Record
from pipelines.registry.cards.head import Stated, front_matter
from pipelines.registry.cards.policy import fill
from pipelines.registry.entry import PolicyEntry

TEMPLATE = "adapter_card.md.jinja"


class NamedBase(Record):
    """The deployed model by the name that transformers, PEFT and vLLM load it by."""

    # A hub id, or an absolute folder.
    name: str
    # The commit on the hub; None for a folder, or where it is not known.
    revision: str | None


def adapter_card(entry: PolicyEntry, base: NamedBase, policy_card: str, stated: Stated | None = None) -> str:
    """The text of an exported adapter's `README.md`; text of others is escaped.

    Args:
        policy_card: the policy's own card, whose sections follow.
        stated: as of `front_matter`.
    """
    # Late: nothing but a card needs it, and it takes long.
    from huggingface_hub import ModelCard

    own = [(ancestor.run_version, ancestor.adapter) for ancestor in reversed(entry.ancestors)]
    own.append((entry.origin.run_version, entry.adapter))
    named = stated.base_model if stated is not None else None
    text = fill(
        TEMPLATE,
        entry=entry,
        base=entry.base.model_copy(update={"hub_id": named}) if named is not None else entry.base,
        revision=base.revision,
        adapters=[(version, adapter.contents.sha256) for version, adapter in own if adapter is not None],
    )
    head = front_matter(entry, "peft", stated)
    return f"---\n{head}\n---\n\n{text}\n{ModelCard(policy_card).text.lstrip()}"
