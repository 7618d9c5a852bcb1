"""Keeps an endpoint at the registry's current policy: a promotion or rollback there changes what is served."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, Field

from actors.contract.publication import PublicationRefusedError
from actors.contract.records import PolicyRef, Record
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import write_text
from actors.serve.config import PublisherConfig, check_lengths
from actors.serve.publication_audit import Action
from pipelines.registry.history import Change, Clock
from pipelines.registry.store import Registry
from pipelines.runs.lease.process import this_process
from pipelines.serving.status import EndpointStatus, StatusFile


class RefusedVersions(Record):
    """Why each version was refused."""

    versions: dict[str, str] = Field(default_factory=dict)


class RefusedFile:
    """The file of one endpoint. It outlives the endpoint's process; a version that goes live after all leaves it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def why(self, version: str) -> str | None:
        """Why a version was refused; None where it was not.

        Raises:
            SalusError: the file cannot be read.
        """
        return self._known().get(version)

    def add(self, version: str, why: str) -> None:
        self._write(self._known() | {version: why})

    def drop(self, version: str) -> None:
        known = self._known()
        if known.pop(version, None) is not None:
            self._write(known)

    def _known(self) -> dict[str, str]:
        cure = "delete it, and watch what the endpoint serves"
        found = find_record(RefusedVersions, self._path, "a list of refused policies", cure)
        return dict(found.versions) if found is not None else {}

    def _write(self, versions: dict[str, str]) -> None:
        write_text(RefusedVersions(versions=versions).model_dump_json(indent=2) + "\n", self._path)


class LivePublisher(Protocol):
    """What a follower needs of an endpoint; see `actors.serve.publisher.publisher`."""

    @property
    def url(self) -> str: ...

    def start(self, policy: PolicyRef) -> BaseModel: ...

    def publish(
        self, policy: PolicyRef, cycle: int, *, trial: bool = True, wanted: Callable[[], bool] = ...
    ) -> BaseModel: ...


class Follower:
    """One endpoint and the registry it follows. Life: start -> step* -> end.

    Every start and every publication is in the registry's audit log, before and after. A policy may be unable to go
    live. Its weights changed or do not fit the engine, it did not pass its trial, or its intention cannot be written
    there. Then the former one stays, and the policy is not tried again before the registry changes.
    """

    def __init__(
        self,
        registry: Registry,
        publisher: LivePublisher,
        say: Callable[[str], None],
        clock: Clock = lambda: datetime.now(UTC),
        scheme: str | None = None,
    ) -> None:
        """`scheme`: the inference scheme by which every policy is asked; None: as clients ask."""
        self._registry = registry
        self._scheme = scheme
        self._publisher = publisher
        self._say = say
        self._clock = clock
        self._file = StatusFile(registry.root, publisher.url)
        self._refused = RefusedFile(self._file.refused)
        self._holder = this_process()
        self._version: str | None = None
        self._changes = 0
        self._fault: str | None = None

    def start(self, version: str | None) -> None:
        """Bring the endpoint up with this version, or with the current one; with the one before if that was refused.

        Raises:
            SalusError: nothing is current, no such policy, changed weights, or the endpoint does not start.
        """
        changes = self._registry.history.changes()
        wanted = version or _newest(self._registry, self._refused)
        reason = "as told" if version is not None else _reason(changes[-1])
        with self._registry.audit.entry("start", wanted, reason=reason, endpoint=self._publisher.url) as deed:
            policy = self._policy(wanted)
            self._publisher.start(policy)
            # As it is registered; asked for may have been how it begins.
            deed.done(policy.version, None)
        self._now_at(policy.version, len(changes))
        current = changes[-1].version if changes else None
        if version is None and current is not None and (fault := self._refused.why(current)):
            self._note(fault)

    def resume(self) -> bool:
        """Go on with an endpoint whose replicas outlived its follower; what changed since is for the next step.

        Returns:
            False where no file tells what that follower had served.

        Raises:
            SalusError: that policy cannot be served any more.
        """
        known = self._file.find()
        if known is None or known.version is None:
            return False
        policy = self._policy(known.version)
        self._publisher.start(policy)
        self._version, self._changes, self._fault = policy.version, known.changes, known.fault
        self._write()
        return True

    def step(self) -> None:
        """Carry out what changed in the registry since the last look; a fault of it is told and kept, never raised."""
        try:
            changes = self._registry.history.changes()
            if len(changes) == self._changes:
                return
            self._carry_out(changes[-1], len(changes))
        except SalusError as error:
            self._note(error.sentence)

    def end(self) -> None:
        """Say that no policy answers there any more."""
        self._file.remove()

    def _carry_out(self, change: Change, changes: int) -> None:
        version = change.version
        if version == self._version:
            self._now_at(version, changes)
            return
        try:
            action: Action = "rollback" if change.action == "rollback" else "publish"
            with self._registry.audit.entry(action, version, self._version, _reason(change), self._publisher.url):
                self._publish(change, changes)
        except SalusError:
            # Not again before the next change; `step` tells why, also where the last one failed for the same reason.
            self._changes, self._fault = changes, None
            raise
        self._now_at(version, changes)
        self._say(f"{version} is live at {self._publisher.url}")

    def _publish(self, change: Change, changes: int) -> None:
        # A rollback cannot wait, and goes back to what was served; unless that was refused.
        trial = change.action == "promote" or self._refused.why(change.version) is not None
        try:
            self._publisher.publish(
                self._policy(change.version),
                cycle=0,
                trial=trial,
                # A rollback does not wait for the end of a canary either.
                wanted=lambda: len(self._registry.history.changes()) == changes,
            )
        except PublicationRefusedError as error:
            self._refused.add(change.version, error.sentence)
            raise
        self._refused.drop(change.version)

    def _policy(self, version: str) -> PolicyRef:
        entry = self._registry.find(version)
        folder, _ = self._registry.servable(entry)
        scheme = str(self._registry.scheme(entry, self._scheme)) if self._scheme is not None else None
        return PolicyRef(version=entry.version, path=str(folder), scheme=scheme)

    def _now_at(self, version: str, changes: int) -> None:
        self._version, self._changes, self._fault = version, changes, None
        self._write()

    def _note(self, fault: str) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        self._say(f"{self._version} stays: {fault}")
        self._write()

    def _write(self) -> None:
        self._file.write(
            EndpointStatus(
                url=self._publisher.url,
                holder=self._holder,
                version=self._version,
                since=self._clock().isoformat(timespec="seconds"),
                changes=self._changes,
                fault=self._fault,
            )
        )


def check_first(registry: Registry, url: str, version: str | None, fit: Callable[[str], PublisherConfig]) -> None:
    """Refuse, before anything starts, an endpoint whose first policy does not hold what the settings ask of it.

    Args:
        url: the endpoint's.
        version: as for `Follower.start`.
        fit: the settings that a version is served with.

    Raises:
        SalusError: as `check_lengths` does; nothing is current, or no such policy.
    """
    refused = RefusedFile(StatusFile(registry.root, url).refused)
    entry = registry.find(version or _newest(registry, refused))
    folder, _ = registry.weights(entry)
    # Weights that are gone are told of as such by who loads them.
    config = fit(entry.version)
    if config.scheme is not None:
        registry.scheme(entry, config.scheme)
    if (folder / "config.json").is_file():
        check_lengths(config, folder)


def _newest(registry: Registry, refused: RefusedFile) -> str:
    """The version to start with: the current one, or the last before it that this endpoint did not refuse.

    Nothing is tried when an endpoint comes up: what it had refused would go live.
    """
    for change in reversed(registry.history.changes()):
        if refused.why(change.version) is None:
            return change.version
    raise SalusError(f"No policy of the registry {registry.root} is current; choose one: salus policy promote VERSION.")


def _reason(change: Change) -> str:
    """Why an endpoint follows: who changed the registry, and what he said."""
    return f"{change.action} by {change.who}: {change.why}" if change.why else f"{change.action} by {change.who}"
