"""A policy out of the registry: a plain Hugging Face folder, or one LoRA adapter on the deployed model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, assert_never

from safetensors import SafetensorError

from actors.errors import SalusError
from actors.files.full_disk import disk_of
from actors.files.shards import write_text
from actors.training.adapter import settle_config
from actors.training.merging.adapters import combine
from pipelines.registry.cards.adapter import NamedBase, adapter_card
from pipelines.registry.cards.head import Stated, front_matter, with_front_matter
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.names import read_run_version
from pipelines.registry.store import ADAPTER, CARD, MERGED, RECORD, Registry, ancestor_kind
from pipelines.runs.contents import Contents, copy_contents, differences, whole_folder

Kind = Literal["merged", "adapter"]


def export_policy(
    registry: Registry, version: str, out: Path, kind: Kind = "merged", stated: Stated | None = None
) -> PolicyEntry:
    """Write a policy and its model card to a new or empty folder, all of it or nothing.

    Args:
        kind: `merged`: the weights, the same to the last byte. `adapter`: the adapters of the policy and its
            ancestors as one, with the deployed model's name in its config.
        stated: what the card says of base model and license; a base model named here is also that of the adapter.

    Raises:
        SalusError: no such policy, weights that are not those registered, or `out` is not empty or cannot be
            written. For an adapter also an ancestor without one, or a deployed model that is gone or has changed.
    """
    entry = registry.find(version)
    _check_free(out)
    try:
        with disk_of(out):
            match kind:
                case "merged":
                    _export_merged(registry, entry, out, stated)
                case "adapter":
                    _export_adapter(registry, entry, out, stated)
                case _:
                    assert_never(kind)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise SalusError(f"{out} cannot be written ({why}); give another folder.") from error
    return entry


def merged_card(registry: Registry, entry: PolicyEntry, stated: Stated | None = None) -> str:
    """The registered card of a policy's merged weights; its front matter is made anew."""
    card = (registry.folder(entry) / CARD).read_text(encoding="utf-8")
    return with_front_matter(card, front_matter(entry, "transformers", stated))


def _export_merged(registry: Registry, entry: PolicyEntry, out: Path, stated: Stated | None) -> None:
    source, contents = registry.intact(entry, MERGED)
    with whole_folder(out.absolute()) as made:
        copy_contents(source, contents, made)
        write_text(merged_card(registry, entry, stated), made / CARD)


def _export_adapter(registry: Registry, entry: PolicyEntry, out: Path, stated: Stated | None) -> None:
    adapters = _adapters(registry, entry)
    if stated is not None and stated.base_model is not None:
        base = NamedBase(name=stated.base_model, revision=None)
    else:
        base = _named_base(registry, entry)
    card = adapter_card(entry, base, (registry.folder(entry) / CARD).read_text(encoding="utf-8"), stated)
    with whole_folder(out.absolute()) as made:
        if len(adapters) == 1:
            copy_contents(*adapters[0], made)
        else:
            # The merged policy has the deployed model's layers; none of its weights is read.
            combine(registry.intact(entry, MERGED, only="config.json")[0], [folder for folder, _ in adapters], made)
        settle_config(made, base.name, base.revision)
        write_text(card, made / CARD)


def _adapters(registry: Registry, entry: PolicyEntry) -> tuple[tuple[Path, Contents], ...]:
    """The adapters that lead from the deployed model to a policy, oldest first."""
    record = str(registry.folder(entry) / RECORD)
    kinds = [ADAPTER]
    for ancestor in entry.ancestors:
        if read_run_version(ancestor.run_version, record).challenger is None:
            continue
        if ancestor.adapter is None:
            raise SalusError(
                f"{entry.version} cannot be exported as an adapter, because no adapter is registered for its ancestor"
                f" {ancestor.run_version}: leave --adapter out. If that policy was trained with LoRA, you may also"
                f" register the run again: salus policy register {entry.origin.run}."
            )
        kinds.append(ancestor_kind(ancestor))
    return tuple(registry.intact(entry, kind) for kind in reversed(kinds))


def _named_base(registry: Registry, entry: PolicyEntry) -> NamedBase:
    """The deployed model by the name that other programs load it by.

    Raises:
        SalusError: it is a folder that is gone, or no longer holds the model the run began with.
    """
    base = entry.base
    folder = Path(base.folder) if base.folder is not None else None
    if base.hub_id is not None:
        # The hub's cache names a model's folder by the commit.
        cached = folder is not None and folder.parent.name == "snapshots"
        return NamedBase(name=base.hub_id, revision=folder.name if folder is not None and cached else None)
    places = [folder] if folder is not None else []
    for other in registry.entries():
        if base.contents is not None and other.merged.contents.sha256 == base.contents.sha256:
            places.append(registry.weights(other)[0])
    for place in places:
        if base.contents is not None and not differences(place, base.contents):
            return NamedBase(name=str(place.absolute()), revision=None)
    raise SalusError(
        f"{entry.version} cannot be exported as an adapter, because its deployed model is not in"
        f" {folder or 'any known folder'} as it was. Put that model back, or leave --adapter out."
    )


def base_folder(registry: Registry, entry: PolicyEntry) -> Path:
    """Where the deployed model of a policy is on this machine.

    Raises:
        SalusError: its folder is gone, or no longer holds the model the run began with.
    """
    base = entry.base
    if base.hub_id is None:
        return Path(_named_base(registry, entry).name)
    folder = Path(base.folder) if base.folder is not None else None
    if folder is None or not folder.is_dir() or (base.contents is not None and differences(folder, base.contents)):
        raise SalusError(
            f"The deployed model {base.hub_id} of {entry.version} is not in {folder or 'any known folder'}; fetch it"
            " again by the command that made the run."
        )
    return folder


def _check_free(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise SalusError(f"{out} is not empty; give a folder that is new or empty.")
    if out.exists() and not out.is_dir():
        raise SalusError(f"{out} is a file; give a folder that is new or empty.")
