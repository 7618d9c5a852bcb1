"""A registered policy on the hub: weights, tokenizer and card, and nothing else of its run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from actors.contract.records import Record
from actors.errors import SalusError
from pipelines.registry.cards.head import Stated
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.export import export_policy, merged_card
from pipelines.registry.store import ADAPTER, MERGED, Registry
from pipelines.runs.contents import ADAPTER_FILES, MODEL_FILES
from pipelines.runs.finished.hub.private import check_private
from pipelines.runs.finished.hub.upload import CARD, HubFile, HubPush, Uploaded, check_repo, upload

# The oldest models of the hub have no organisation.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
Form = Literal["merged", "adapter", "both"]


class PushOptions(Record):
    """What is pushed of a policy, and who may see it."""

    # `both`: merged weights, and the adapter in the folder `adapter`.
    form: Form = "merged"
    public: bool = False
    stated: Stated = Stated()


@contextmanager
def policy_push(registry: Registry, version: str, repo: str, options: PushOptions) -> Iterator[HubPush]:
    """What would be uploaded of a policy; files of an adapter are there while the context is open.

    Raises:
        SalusError: as `export_policy`, `HubPush` and `check_private`. Also where the policy awaits approval, or an
            adapter's deployed model has no hub id.
    """
    from huggingface_hub import get_token

    check_repo(repo)
    _check_stated(options.stated)
    entry = registry.find(version)
    registry.check_approved(entry)
    files: list[HubFile] = []
    with TemporaryDirectory(prefix="salus-push-") as place:
        if options.form != "adapter":
            source, contents = registry.intact(entry, MERGED)
            files += [HubFile(file.name, source / file.name) for file in contents.files]
            files.append(HubFile(CARD, merged_card(registry, entry, options.stated).encode()))
        if options.form != "merged":
            if entry.base.hub_id is None and options.stated.base_model is None:
                raise SalusError(
                    f"The adapter of {entry.version} is on a model of this machine, which the hub cannot load. Name the"
                    " same model there with --base-model ORGANISATION/NAME, or leave --adapter and --both out."
                )
            folder = Path(place) / ADAPTER
            export_policy(registry, entry.version, folder, "adapter", options.stated)
            below = f"{ADAPTER}/" if options.form == "both" else ""
            files += [HubFile(f"{below}{path.name}", path) for path in sorted(folder.iterdir())]
        check_private(files, _folders(registry, entry), get_token())
        yield HubPush(
            repo=repo,
            kind="model",
            public=options.public,
            files=tuple(sorted(files, key=lambda file: file.path)),
            message=f"Policy {entry.version}",
            # A model is every weight file at the top, whichever upload it came with.
            replaces=(*MODEL_FILES, *ADAPTER_FILES, *(f"{ADAPTER}/{name}" for name in ADAPTER_FILES)),
        )


def push_policy(registry: Registry, version: str, push: HubPush) -> Uploaded:
    """Upload a policy; the registry's audit log names who pushed it where, before and after.

    Raises:
        SalusError: as `upload`, or the audit log cannot be written.
    """
    with registry.audit.entry("push", version, reason=f"{push.visibility}, to {push.kind} {push.repo}"):
        return upload(push)


def _check_stated(stated: Stated) -> None:
    if stated.base_model is not None and _MODEL.fullmatch(stated.base_model) is None:
        raise SalusError(f"{stated.base_model!r} is no model of the hub; write --base-model as ORGANISATION/NAME.")
    if stated.license is not None and _LICENSE.fullmatch(stated.license) is None:
        raise SalusError(
            f"{stated.license!r} is no licence as the hub writes them; give one such as apache-2.0 or other."
        )


def _folders(registry: Registry, entry: PolicyEntry) -> Iterator[Path]:
    """Folders of this machine that the registry knows of the policy."""
    yield registry.root
    yield Path(entry.origin.run)
    yield Path(entry.merged.folder or registry.root)
    if entry.base.folder is not None and Path(entry.base.folder).is_absolute():
        yield Path(entry.base.folder)
