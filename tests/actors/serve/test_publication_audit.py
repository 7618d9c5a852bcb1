"""What is published stands in the audit log before and after, and a log that fails undoes nothing."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from actors.contract.publication import Publication
from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import (
    AuditedPublisher,
    PublicationAudit,
    PublicationEntry,
    entry_of,
    os_user,
    outcomes,
)

A, B = (PolicyRef(version=version, path=f"/models/{version}") for version in ("a", "b"))
URL = "http://127.0.0.1:8000"


class Publishing:
    """Publishes what fits, and does what a test says before it is done."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.live: list[str] = []
        self.breaks_the_log = False

    def start(self, policy: PolicyRef) -> Publication:
        return self.publish(policy, 0)

    def attach(self, policy: PolicyRef) -> None:
        self.live.append(policy.version)

    def publish(self, policy: PolicyRef, cycle: int) -> Publication:
        if policy.version == "unfit":
            raise SalusError("It does not fit.")
        # Written down before anybody is served by it.
        assert entry_of(AuditLog(self._log).readable()[0][-1]).outcome == "intended"  # type: ignore[union-attr]
        if self.breaks_the_log:
            self._log.unlink()
            self._log.mkdir()
        self.live.append(policy.version)
        return Publication(
            version=policy.version, path=policy.path, cycle=cycle, published_at="", swap_s=0, replicas=1, previous=None
        )

    def stop(self) -> None:
        self.live.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def audited(path: Path) -> tuple[AuditedPublisher, Publishing]:
    publishing = Publishing(path)
    return AuditedPublisher(publishing, PublicationAudit(AuditLog(path)), URL), publishing


def test_who_published_what_instead_of_what_and_why(path: Path) -> None:
    publisher, _ = audited(path)
    publisher.start(A)
    publisher.publish(B, 2)
    with pytest.raises(SalusError, match="does not fit"):
        publisher.publish(PolicyRef(version="unfit", path="/x"), 3)
    assert AuditLog(path).verify().entries == 6
    start, publish, refused = outcomes(AuditLog(path).readable()[0])
    assert [each.began.action for each in (start, publish, refused)] == ["start", "publish", "publish"]
    assert all(each.began.who == os_user() and each.ended is not None for each in (start, publish, refused))
    assert publish.entry is not None and refused.entry is not None
    assert publish.entry.model_dump(exclude={"entry"}) == {
        "version": "b",
        "previous": "a",
        "reason": "the decision of cycle 2",
        "endpoint": URL,
        "outcome": "done",
        "fault": None,
    }
    assert (refused.entry.outcome, refused.entry.previous, refused.entry.fault) == ("refused", "b", "It does not fit.")


def test_a_publisher_that_was_taken_over_knows_what_it_replaces(path: Path) -> None:
    publisher, _ = audited(path)
    publisher.attach(A)
    publisher.publish(B, 1)
    (publish,) = outcomes(AuditLog(path).readable()[0])
    assert publish.entry is not None and publish.entry.previous == "a"


def test_what_cannot_be_written_down_is_not_done(path: Path) -> None:
    path.mkdir()
    publisher, publishing = audited(path)
    with pytest.raises(SalusError, match=r"audit log .* cannot be written"):
        publisher.start(A)
    assert publishing.live == []


def test_what_is_done_is_not_called_failed_because_of_the_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publisher, publishing = audited(path)
    publisher.start(A)
    publishing.breaks_the_log = True
    with caplog.at_level(logging.WARNING):
        assert publisher.publish(B, 1).model_dump()["version"] == "b"
    assert publishing.live == ["a", "b"]
    assert "The outcome of publish b (done) was not audited" in caplog.text


def test_a_process_that_dies_leaves_an_intention_without_an_outcome(path: Path) -> None:
    audit = PublicationAudit(AuditLog(path), who=lambda: "key:anna")
    with pytest.raises(KeyboardInterrupt), audit.entry("rollback", "a", "b"):
        raise KeyboardInterrupt
    AuditLog(path).append("anna", "key_added", "ward")
    cut_short, other = outcomes(AuditLog(path).readable()[0])
    assert cut_short.ended is None and cut_short.entry is not None and cut_short.entry.outcome == "intended"
    assert (other.entry, other.began.detail, cut_short.began.who) == (None, "ward", "key:anna")


def test_long_texts_of_others_fit(path: Path) -> None:
    audit = PublicationAudit(AuditLog(path))
    with pytest.raises(SalusError), audit.entry("publish", "v" * 255, "v" * 255, '"' * 10_000, URL):
        raise SalusError("\\" * 10_000)
    (deed,) = outcomes(AuditLog(path).readable()[0])
    assert (
        isinstance(deed.entry, PublicationEntry) and deed.entry.outcome == "refused" and len(deed.entry.reason) <= 800
    )


@pytest.mark.parametrize(("folder", "log"), [(0o770, 0o660), (0o755, 0o600), (0o700, 0o600)])
def test_a_group_that_shares_the_folder_shares_the_log(tmp_path: Path, folder: int, log: int) -> None:
    shared = tmp_path / "registry"
    shared.mkdir()
    shared.chmod(folder)
    AuditLog(shared / "audit.jsonl").append("anna", "publish")
    assert os.stat(shared / "audit.jsonl").st_mode & 0o777 == log


def test_the_detail_keeps_the_names_that_earlier_versions_wrote(path: Path) -> None:
    publisher, _ = audited(path)
    publisher.start(A)
    began, _ = AuditLog(path).readable()[0]
    assert '"deed":"' in began.detail and entry_of(began) is not None
