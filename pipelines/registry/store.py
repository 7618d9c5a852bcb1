"""The registry's folder: one folder for each policy, found by looking; and the log that says which is current.

```
NAME/VERSION/{policy.json, README.md}   and, where copied, merged/, adapter/, those of ancestors (adapter-c1-kto/), and
                                        inference schemes (scheme-NAME/)
history.jsonl  audit.jsonl
```
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.private import share
from actors.files.shards import write_text
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import PublicationAudit
from actors.serve.replica.scheme.asked import SCHEME_FILE
from pipelines.registry.entry import Ancestor, PolicyEntry, Weights, read_entry
from pipelines.registry.history import Change, Clock, History
from pipelines.runs.contents import Contents, copy_whole, differences, whole_folder

AUDIT = "audit.jsonl"
HISTORY = "history.jsonl"
# Files of the endpoints that follow, no policy's.
SERVING = "serving"
RECORD = "policy.json"
CARD = "README.md"
MERGED = "merged"
ADAPTER = "adapter"


class Registry:
    """The policies below `root`. Never changed once they are there.

    Life of one: `put` -> [`approve`] -> (`promote` | `rollback` away)*

    Raises:
        SalusError: `root` is an address, not a local folder.
    """

    def __init__(self, root: Path, clock: Clock = lambda: datetime.now(UTC)) -> None:
        if ":/" in str(root):
            raise SalusError(f"The registry {root} is not a local folder; give the path of a folder of this machine.")
        self.root = root.expanduser().absolute()
        # As sentences call it.
        self.where = str(self.root)
        self.clock = clock
        self.history = History(self.root / HISTORY, clock)
        self.audit = PublicationAudit(AuditLog(self.root / AUDIT, clock))

    def prepare(self) -> None:
        """Make the registry's folder.

        Raises:
            SalusError: it cannot be made or written to.
        """
        try:
            make_folder(self.root)
        except OSError as error:
            raise self._unwritable(error) from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise SalusError(f"The registry {self.where} may not be written to; give another folder.")

    def folder(self, entry: PolicyEntry) -> Path:
        return self.root / entry.name / entry.version

    def beside(self, name: str, setting: str) -> Path:
        """A folder of the registry that is no policy's, for a setting that names none.

        Raises:
            SalusError: the registry is in a store, where nothing but policies and logs is kept.
        """
        return self.root / name

    def entries(self) -> tuple[PolicyEntry, ...]:
        """Every policy, in the order they were registered in.

        Raises:
            SalusError: there is no registry, or one of its records cannot be read.
        """
        if not self.root.is_dir():
            raise SalusError(f"There is no registry {self.where}; register a run first: salus policy register RUN.")
        records = (path for path in self.root.glob(f"*/*/{RECORD}") if not _hidden(path))
        return tuple(sorted(map(read_entry, records), key=lambda e: (e.registered_at, e.origin.cycle, e.version)))

    def find(self, version: str) -> PolicyEntry:
        """The policy of this version, or the only one whose version begins so.

        Raises:
            SalusError: there is none, or there are several.
        """
        entries = self.entries()
        exact = [entry for entry in entries if entry.version == version]
        found = exact or [entry for entry in entries if version and entry.version.startswith(version)]
        if len(found) == 1:
            return found[0]
        several = ", ".join(entry.version for entry in found[:4])
        if found:
            raise SalusError(f"{version!r} begins several versions ({several}); give more of the one you mean.")
        raise SalusError(f"The registry {self.where} has no policy {version!r}; see salus policy list.")

    def weights(self, entry: PolicyEntry, kind: str = MERGED) -> tuple[Path, Contents]:
        """Where a policy's weights are, and what they must be.

        Args:
            kind: `merged`, `adapter`, or an ancestor's adapter as `ancestor_kind` names it.

        Raises:
            SalusError: it has no adapter.
        """
        weights = _weights_by_kind(entry).get(kind)
        if weights is None:
            raise SalusError(f"{entry.version} has no adapter: it was not trained with LoRA; leave --adapter out.")
        return Path(weights.folder) if weights.folder is not None else self.folder(entry) / kind, weights.contents

    def intact(self, entry: PolicyEntry, kind: str = MERGED, only: str | None = None) -> tuple[Path, Contents]:
        """As `weights`, held against the hashes of the day the policy was registered.

        Args:
            kind: as of `weights`.
            only: the one file that will be read, so that no other is hashed; None: all.

        Raises:
            SalusError: a file is missing or has changed, or as `weights` does.
        """
        folder, contents = self.weights(entry, kind)
        if only is not None:
            contents = Contents.of(tuple(file for file in contents.files if file.name == only))
        changed = differences(folder, contents)
        if changed:
            raise SalusError(
                f"The weights of {entry.version} are not what was registered ({', '.join(changed[:3])} in {folder}"
                " changed or missing). Take them from a copy, or register the run again from where it is now."
            )
        return folder, contents

    def servable(self, entry: PolicyEntry) -> tuple[Path, Contents]:
        """As `intact`, of a policy that may be served: one that needs a person's approval has it.

        Raises:
            SalusError: it awaits approval, or as `intact` does.
        """
        self.check_approved(entry)
        return self.intact(entry)

    def check_approved(self, entry: PolicyEntry) -> None:
        """Refuse a policy that a person must still approve.

        Raises:
            SalusError: it awaits approval, or the history cannot be read.
        """
        if entry.needs_approval and entry.version not in self.history.approvals():
            raise SalusError(
                f"{entry.version} awaits approval and is not served before that; give it with salus policy approve"
                f" {entry.version} --by NAME --reason TEXT."
            )

    def scheme(self, entry: PolicyEntry, name: str) -> Path:
        """The file of an inference scheme, as it was when the policy was registered.

        Raises:
            SalusError: the policy's run did not measure it, or the file changed.
        """
        known = [each.name for each in entry.schemes]
        if name not in known:
            there = f"it measured {', '.join(known)}" if known else "it measured none that can be served"
            raise SalusError(
                f"The run of {entry.version} did not measure it with scheme {name!r}: {there}. Name another as"
                " publish.scheme, leave it out, or register the run again once it has ended."
            )
        folder, _ = self.intact(entry, scheme_kind(name))
        return folder / SCHEME_FILE

    def put(self, entry: PolicyEntry, card: str, copy: bool) -> PolicyEntry:
        """Write a policy's folder, whole or not at all, or renew the one there is; returns what was written.

        Of a policy that is there, weights are taken before the record names them: it is whole at any moment.

        Args:
            entry: with its weights by reference.
            card: the text of `README.md`.
            copy: take the weights into the registry.

        Raises:
            SalusError: the registry cannot be written, or weights changed while they were copied.
        """
        target = self.folder(entry)
        written = _by_copy(entry) if copy else entry
        try:
            if target.exists():
                self._fill(target, entry, written, card)
            else:
                with whole_folder(target) as made:
                    self._fill(made, entry, written, card)
            share(target.parent, self.root)
        except OSError as error:
            raise self._unwritable(error) from error
        return written

    def _fill(self, folder: Path, entry: PolicyEntry, written: PolicyEntry, card: str) -> None:
        """Bring a policy's folder to what `written` says; `entry` tells where weights are copied from."""
        for kind, kept in _weights_by_kind(written).items():
            if kept.folder is None and differences(folder / kind, kept.contents):
                shutil.rmtree(folder / kind, ignore_errors=True)
                copy_whole(*self.weights(entry, kind), folder / kind)
        write_text(card, folder / CARD)
        write_text(written.model_dump_json(indent=2) + "\n", folder / RECORD)

    def approve(self, version: str, by: str, reason: str) -> Change:
        """Record a person's approval of a policy that waits for it, and make it the current one.

        Endpoints that follow the registry serve it from then on, as after any promotion.

        Args:
            version: as of `find`.
            by: who approves.
            reason: why.

        Raises:
            SalusError: no such policy, it needs no approval or has it, no name or reason, or changed weights.
        """
        by, reason = by.strip(), reason.strip()
        if not by:
            raise SalusError("An approval needs the name of the person who gives it; add --by NAME.")
        if not reason:
            raise SalusError("An approval needs a reason; add --reason TEXT.")
        entry = self.find(version)
        if not entry.needs_approval:
            raise SalusError(f"{entry.version} needs no approval, as its run asked for none; promote it instead.")
        self.intact(entry)
        with (
            self.history.changing() as history,
            self.audit.entry("approve", entry.version, history.current, f"by {by}: {reason}") as deed,
        ):
            if (known := history.approved.get(entry.version)) is not None:
                raise SalusError(
                    f"{entry.version} was approved already, by {known.approved_by} at {known.time}; promote it instead."
                )
            change = history.append("promote", entry.version, reason, approved_by=by)
            deed.done(change.version, change.previous)
        return change

    def promote(self, version: str, reason: str) -> Change:
        """Make a policy the current one, once its weights are found to be those that were registered.

        Raises:
            SalusError: no such policy, changed weights, it awaits approval, or it is the current one already.
        """
        entry = self.find(version)
        self.servable(entry)
        with (
            self.history.changing() as history,
            self.audit.entry("promote", entry.version, history.current, reason) as deed,
        ):
            if history.current == entry.version:
                raise SalusError(f"{entry.version} is the current policy already.")
            change = history.append("promote", entry.version, reason)
            deed.done(change.version, change.previous)
        return change

    def rollback(self, reason: str) -> Change:
        """Go back to the policy that was current before the last promotion that still holds.

        Raises:
            SalusError: there is none before, or its weights are gone or changed.
        """
        self.entries()
        with (
            self.history.changing() as history,
            self.audit.entry("rollback", history.former, history.current, reason) as deed,
        ):
            if history.former is None:
                raise SalusError(f"The registry {self.where} has no former policy to go back to; promote one instead.")
            self.servable(self.find(history.former))
            change = history.append("rollback", history.former, reason)
            deed.done(change.version, change.previous)
        return change

    def _unwritable(self, error: OSError) -> SalusError:
        return SalusError(f"The registry {self.where} cannot be written ({error.strerror or error}); free its place.")


def ancestor_kind(ancestor: Ancestor) -> str:
    """What an ancestor's adapter is called among a policy's weights, and its folder where it was copied."""
    return f"{ADAPTER}-{ancestor.run_version}"


def scheme_kind(name: str) -> str:
    """The same of an inference scheme."""
    return f"scheme-{name}"


def _weights_by_kind(entry: PolicyEntry) -> dict[str, Weights]:
    found = {MERGED: entry.merged, ADAPTER: entry.adapter} | {ancestor_kind(a): a.adapter for a in entry.ancestors}
    found |= {scheme_kind(each.name): each.file for each in entry.schemes}
    return {kind: weights for kind, weights in found.items() if weights is not None}


def _by_copy(entry: PolicyEntry) -> PolicyEntry:
    ancestors = tuple(each.model_copy(update={"adapter": _copied(each.adapter)}) for each in entry.ancestors)
    schemes = tuple(each.model_copy(update={"file": _copied(each.file)}) for each in entry.schemes)
    update = {
        "merged": _copied(entry.merged),
        "adapter": _copied(entry.adapter),
        "ancestors": ancestors,
        "schemes": schemes,
    }
    return entry.model_copy(update=update)


def _copied(weights: Weights | None) -> Weights | None:
    return weights.model_copy(update={"folder": None}) if weights is not None else None


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in (path.parent.name, path.parent.parent.name))
